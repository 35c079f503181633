"""A clip as other speakers, rooms, microphones and lines might have given it: arrays in, arrays out.

Waveforms are float32 ``(n_samples,)`` in [-1, 1] at 16 kHz. Every effect is relative to the clip's own
level, so that a quiet corpus is changed as much as a loud one. Cheap enough to be drawn anew in every
epoch: `benchmarks/augmentation.py` measures the milliseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

import numpy as np
import scipy.fft
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import butter, fftconvolve, sosfilt

from emofuse.features.acoustic import hann
from emofuse.media.audio import MIN_SECONDS, SAMPLE_RATE, root_mean_square

Range = tuple[float, float]

MIN_SAMPLES = round(MIN_SECONDS * SAMPLE_RATE)
TELEPHONE_HZ = (300.0, 3400.0)
N_TALKERS = 4
"""Voices in babble."""

_TINY = np.float32(1e-9)


@dataclass(frozen=True)
class AugmentConfig:
    """How often each effect is applied to a clip, and how far. Effects are drawn independently, in this order.

    Speed and pitch stay small: rate and pitch of a voice are also what tells anger from sadness.

    Attributes:
        speed_share, speed: Faster and higher, or slower and lower, by a factor.
        pitch_share, semitones: Higher or lower at the same duration.
        room_share, rt60_s, direct_db: Reverberation; time to decay by 60 dB, direct sound over reverberation.
        noise_share, snr_db: White, pink or babble, one as often as the others.
        microphone_share, response_db: A frequency response that wanders by so much either way.
        gain_share, peak_db: Peak relative to full scale; what exceeds it (above 0) is clipped.
        telephone_share: 300 to 3,400 Hz at 8 kHz.
        codec_share, mu_law_bits, linear_bits, kept: Quantised on G.711's curve or evenly, or as at a low bit
            rate: only a share of the bins of each spectrum; one as often as the others.
    """

    speed_share: float = 0.3
    speed: Range = (0.9, 1.1)
    pitch_share: float = 0.3
    semitones: Range = (-2.0, 2.0)
    room_share: float = 0.3
    rt60_s: Range = (0.15, 0.8)
    direct_db: Range = (-3.0, 12.0)
    noise_share: float = 0.5
    snr_db: Range = (5.0, 30.0)
    microphone_share: float = 0.3
    response_db: float = 6.0
    gain_share: float = 0.3
    peak_db: Range = (-24.0, 8.0)
    telephone_share: float = 0.15
    codec_share: float = 0.2
    mu_law_bits: tuple[int, int] = (4, 8)
    linear_bits: tuple[int, int] = (6, 10)
    kept: Range = (0.05, 0.3)


DEFAULT = AugmentConfig()


def augment(
    waveform: np.ndarray, rng: np.random.Generator, others: Sequence[np.ndarray] = (), config: AugmentConfig = DEFAULT
) -> np.ndarray:
    """A clip with effects drawn by `rng`; some clips stay as they are.

    Args:
        waveform: ``(n_samples,)``, at least 0.1 s.
        rng: Every draw comes from it.
        others: Clips that babble is made of; without any there is none.
        config: How often and how far.

    Returns:
        float32; as long as the clip, but where the speed is changed. Its level is any: normalise it afterwards.
    """
    c, x = config, waveform.astype(np.float32, copy=False)
    if rng.random() < c.speed_share:
        x = change_speed(x, rng.uniform(*c.speed))
    if rng.random() < c.pitch_share:
        x = shift_pitch(x, rng.uniform(*c.semitones))
    if rng.random() < c.room_share:
        x = reverberate(x, room_response(rng.uniform(*c.rt60_s), rng.uniform(*c.direct_db), rng))
    if rng.random() < c.noise_share:
        x = add_noise(x, draw_noise(len(x), rng, others), rng.uniform(*c.snr_db))
    if rng.random() < c.microphone_share:
        x = colour(x, c.response_db, rng)
    if rng.random() < c.gain_share:
        x = set_peak(x, rng.uniform(*c.peak_db))
    if rng.random() < c.telephone_share:
        x = telephone(x)
    if rng.random() < c.codec_share:
        codec = rng.integers(3)
        if codec == 0:
            x = quantise_mu_law(x, int(rng.integers(c.mu_law_bits[0], c.mu_law_bits[1] + 1)))
        elif codec == 1:
            x = quantise(x, int(rng.integers(c.linear_bits[0], c.linear_bits[1] + 1)))
        else:
            x = keep_strongest(x, rng.uniform(*c.kept))
    return x


def change_speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Played `factor` times as fast: pitch and formants rise with it, ``n_samples / factor`` are left.

    A clip is never made shorter than 0.1 s.
    """
    factor = min(factor, max(len(waveform) / MIN_SAMPLES, 1.0))
    return fit_length(_resample(waveform, factor), max(round(len(waveform) / factor), MIN_SAMPLES))


def shift_pitch(waveform: np.ndarray, semitones: float) -> np.ndarray:
    """Pitch and formants moved by `semitones` at the same duration: stretched in time, then resampled."""
    ratio = 2 ** (semitones / 12)
    return fit_length(_resample(_stretch(waveform, ratio), ratio), len(waveform))


def room_response(rt60_s: float, direct_db: float, rng: np.random.Generator) -> np.ndarray:
    """Impulse response of a room: the direct sound, then noise that decays exponentially (Moorer 1979).

    Args:
        rt60_s: Seconds in which the reverberation falls by 60 dB.
        direct_db: Energy of the direct sound over that of the reverberation.
        rng: Draws the noise.

    Returns:
        ``(round(rt60_s * 16000),)``; the direct sound is its first sample, 1.
    """
    n = max(round(rt60_s * SAMPLE_RATE), 2)
    tail = rng.standard_normal(n, dtype=np.float32) * np.logspace(0, -3, n, dtype=np.float32)
    tail[0] = 0
    tail *= np.sqrt(10 ** (-direct_db / 10) / np.sum(tail**2))
    tail[0] = 1
    return tail


def reverberate(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """The clip in a room, as long as before: what rings on after its end is cut off."""
    return fftconvolve(waveform, response)[: len(waveform)].astype(np.float32)


def add_noise(waveform: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Noise of the same length added, `snr_db` below the clip's mean power."""
    scale = root_mean_square(waveform) / max(root_mean_square(noise), _TINY) * 10 ** (-snr_db / 20)
    return waveform + np.float32(scale) * noise


def draw_noise(n_samples: int, rng: np.random.Generator, others: Sequence[np.ndarray] = ()) -> np.ndarray:
    """White or pink noise, or babble where there are clips to make it of, one as often as the others."""
    kinds: tuple[Literal["white", "pink", "babble"], ...] = ("white", "pink", "babble")
    kind = kinds[rng.integers(3 if len(others) else 2)]
    if kind == "babble":
        return babble(n_samples, rng, others)
    white = rng.standard_normal(n_samples, dtype=np.float32)
    return white if kind == "white" else _shape(white, 1 / np.sqrt(np.maximum(_hz(n_samples), 20.0)))


def babble(n_samples: int, rng: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """Several people at once: clips of equal level, each repeated from a random place."""
    total = np.zeros(n_samples, np.float32)
    for i in rng.integers(len(others), size=N_TALKERS):
        clip = others[i]
        talker = np.resize(np.roll(clip, -int(rng.integers(len(clip)))), n_samples)
        total += talker / max(root_mean_square(talker), _TINY)
    return total


def colour(waveform: np.ndarray, response_db: float, rng: np.random.Generator) -> np.ndarray:
    """Through a microphone whose response, in eighths of the range of hearing in mel, is off by up to `response_db`."""
    mel = np.log1p(_hz(len(waveform)) / 700)
    points = rng.uniform(-response_db, response_db, 9)
    return _shape(waveform, 10 ** (np.interp(mel, np.linspace(0, mel[-1], 9), points) / 20))


def set_peak(waveform: np.ndarray, peak_db: float) -> np.ndarray:
    """Scaled to a peak of `peak_db` relative to full scale; what is beyond full scale is clipped."""
    return np.clip(waveform * np.float32(10 ** (peak_db / 20) / _peak(waveform)), -1, 1)


def telephone(waveform: np.ndarray) -> np.ndarray:
    """300 to 3,400 Hz at 8 kHz, as a fixed line carries it, back at 16 kHz."""
    narrow = sosfilt(_telephone_filter(), _resample(waveform, 2.0))
    return fit_length(_resample(np.asarray(narrow, np.float32), 0.5), len(waveform))


def quantise_mu_law(waveform: np.ndarray, bits: int) -> np.ndarray:
    """Quantised on the curve of ITU-T G.711, mu = 255, the clip's peak at full scale; 8 bits are G.711's."""
    peak, mu = _peak(waveform), np.float32(255)
    compressed = quantise(np.sign(waveform) * np.log1p(mu * np.abs(waveform / peak)) / np.log1p(mu), bits)
    return peak * np.sign(compressed) * np.expm1(np.abs(compressed) * np.log1p(mu)) / mu


def quantise(waveform: np.ndarray, bits: int) -> np.ndarray:
    """Rounded to ``2**bits - 1`` even steps between the clip's peak and its negative."""
    step = _peak(waveform) / np.float32(2 ** (bits - 1) - 1)
    return np.round(waveform / step) * step


def keep_strongest(waveform: np.ndarray, share: float) -> np.ndarray:
    """Only the strongest share of the bins of each 32 ms: the holes that a codec leaves at a low bit rate."""
    n, hop = 512, 256
    window = np.sqrt(hann(n))  # once before and once after: its square, shifted by the hop, sums to 1
    frames = sliding_window_view(np.pad(waveform, (hop, n)), n)[::hop] * window
    spectra = _rfft(frames, n)
    magnitude = np.abs(spectra)
    n_dropped = min(round((1 - share) * magnitude.shape[1]), magnitude.shape[1] - 1)
    threshold = np.partition(magnitude, n_dropped, axis=1)[:, n_dropped, None]
    kept = _irfft(np.where(magnitude >= threshold, spectra, 0), n)
    return _joined(kept * window, hop)[hop : hop + len(waveform)]


def fit_length(waveform: np.ndarray, n_samples: int) -> np.ndarray:
    """Cut, or filled with silence, to `n_samples`."""
    return np.pad(waveform[:n_samples], (0, max(0, n_samples - len(waveform))))


def _stretch(waveform: np.ndarray, ratio: float) -> np.ndarray:
    """`ratio` times as long at the same pitch: WSOLA (Verhelst & Roelands 1993), 40 ms, hop 20 ms.

    Output frame k is taken near time k / ratio of the input: of the places within 10 ms, from where the
    waveform is most like what followed frame k - 1 in the input, so that periods join.
    """
    n, hop, reach = 640, 320, 160
    n_samples = round(len(waveform) * ratio)
    targets = np.round(np.arange(n_samples // hop + 2) * hop / ratio).astype(int) + reach
    padded = np.pad(waveform, (hop + reach, n + hop + 2 * reach + max(0, targets[-1] - len(waveform))))
    starts = targets.copy()
    for k in range(1, len(starts)):
        follows = padded[starts[k - 1] + hop :][:n]
        near = padded[targets[k] - reach : targets[k] + reach + n]
        starts[k] += np.argmax(np.correlate(near, follows)) - reach
    frames = padded[starts[:, None] + np.arange(n)] * hann(n)
    return _joined(frames, hop)[hop : hop + n_samples]


def _joined(frames: np.ndarray, hop: int) -> np.ndarray:
    """Overlap-add: (n_frames, n) -> ((n_frames + n / hop - 1) * hop,)."""
    n_frames, n = frames.shape
    blocks = frames.reshape(n_frames, n // hop, hop)
    total = np.zeros((n_frames + n // hop - 1, hop), np.float32)
    for k in range(n // hop):
        total[k : k + n_frames] += blocks[:, k]
    return total.ravel()


def _shape(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Filtered by a response at the frequencies of `_hz`, without delay."""
    n = len(waveform)
    size = _fast_length(n)
    return _irfft(_rfft(waveform, size) * response.astype(np.float32), size)[:n]


def _hz(n_samples: int) -> np.ndarray:
    """Frequencies of the spectrum of so many samples, filled up to a length that is fast."""
    return np.fft.rfftfreq(_fast_length(n_samples), 1 / SAMPLE_RATE)


def _fast_length(n_samples: int) -> int:
    return cast(int, scipy.fft.next_fast_len(n_samples, real=True))  # its stub knows no return value


def _rfft(x: np.ndarray, n: int) -> np.ndarray:
    """Of the last axis; float32 gives complex64, unlike numpy's before its version 2."""
    return np.asarray(scipy.fft.rfft(x, n, workers=1))


def _irfft(spectra: np.ndarray, n: int) -> np.ndarray:
    """Inverse of `_rfft`."""
    return np.asarray(scipy.fft.irfft(spectra, n, workers=1))


def _resample(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Every `factor`-th sample, band-limited: (n_samples,) -> about (n_samples / factor,)."""
    return np.asarray(soxr.resample(waveform, factor, 1.0, quality="MQ"), np.float32)


@cache
def _telephone_filter() -> np.ndarray:
    return np.asarray(butter(4, TELEPHONE_HZ, "bandpass", fs=8000, output="sos"))


def _peak(waveform: np.ndarray) -> np.float32:
    return np.maximum(np.abs(waveform).max(), _TINY)
