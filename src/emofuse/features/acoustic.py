"""A waveform as itself and as spectra.

All spectra share one framing: row i is of the samples 160 i to 160 i + 400 at 16 kHz, so it is
centred at 10 i + 12.5 ms; there is no padding and a last incomplete frame is dropped.
"""

from functools import cache, partial

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from emofuse.errors import ConfigError, DataError
from emofuse.features.extractor import Extractor
from emofuse.media.audio import SAMPLE_RATE

N_FFT = 512
N_BINS = N_FFT // 2 + 1
WINDOW_MS, SHIFT_MS = 25, 10
POWER_FLOOR = 1e-10
"""Added to the power before the logarithm; digital silence gives log(1e-10) = -23.03."""


def hann(n: int) -> np.ndarray:
    """float32 (n,): the periodic Hann window, as `scipy.signal` has it, which takes a second to import."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)).astype(np.float32)


def log_power_spectrogram(waveform: np.ndarray, sample_rate: int = 16_000) -> np.ndarray:
    """Log power spectra of 25 ms periodic Hann windows every 10 ms (Krishna & Patil 2020, Sec. 4).

    ``log(|rfft(window * frame, 512)|**2 + 1e-10)``, natural logarithm. Frame i begins at sample
    160 i; there is no padding and a last incomplete frame is dropped, so at 16 kHz
    ``n_frames = 1 + (n_samples - 400) // 160``.

    Args:
        waveform: ``(n_samples,)`` in [-1, 1], at least one window long.
        sample_rate: Samples per second; at most 20,480, where a window is 512 samples.

    Returns:
        float32 ``(n_frames, 257)``.

    Raises:
        DataError: The waveform is not one-dimensional or shorter than a window.
        ConfigError: A window at this sample rate is longer than 512 samples.
    """
    return np.log(_power(waveform, sample_rate) + np.float32(POWER_FLOOR))


def log_mel_spectrogram(waveform: np.ndarray, n_mels: int = 80) -> np.ndarray:
    """Log power in bands of Slaney's mel scale (as librosa and Whisper have it), at 16 kHz.

    ``log(filters @ |rfft(window * frame, 512)|**2 + 1e-10)``, natural logarithm, with the framing of
    `log_power_spectrogram` and the triangles of `mel_filters`. Digital silence gives -23.03.

    Args:
        waveform: ``(n_samples,)`` in [-1, 1], at least 400 samples, 16 kHz.
        n_mels: Number of bands from 0 to 8,000 Hz.

    Returns:
        float32 ``(n_frames, n_mels)``.

    Raises:
        DataError: The waveform is not one-dimensional or shorter than a window.
        ConfigError: `n_mels` is out of range, see `mel_filters`.
    """
    return np.log(_power(waveform, SAMPLE_RATE) @ mel_filters(n_mels).T + np.float32(POWER_FLOOR))


@cache
def mel_filters(n_mels: int, n_fft: int = N_FFT) -> np.ndarray:
    """Triangular filters, equally spaced on Slaney's mel scale from 0 to 8,000 Hz, each of area 1 over Hz.

    Returns:
        float32 ``(n_mels, n_fft // 2 + 1)``.

    Raises:
        ConfigError: `n_mels` < 1, or so many that a triangle falls between two bins of 16,000 / `n_fft` Hz.
    """
    if n_mels < 1:
        raise ConfigError(f"{n_mels} mel bands, need at least 1")
    low, centre, high = (edges[:, None] for edges in _mel_edges(n_mels))
    bins = np.linspace(0, SAMPLE_RATE / 2, n_fft // 2 + 1)
    triangles = np.maximum(0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    if not triangles.any(axis=1).all():
        raise ConfigError(f"{n_mels} mel bands: the lowest are narrower than a bin of {bins[1]:g} Hz, take fewer")
    filters = (triangles * 2 / (high - low)).astype(np.float32)
    filters.flags.writeable = False  # every caller gets the same one
    return filters


def check_waveform(waveform: np.ndarray, min_samples: int = 1) -> np.ndarray:
    """The waveform as float32 ``(n_samples,)``.

    Raises:
        DataError: Not one-dimensional, shorter than `min_samples`, not of floats, or NaN or infinite.
    """
    if waveform.ndim != 1 or len(waveform) < min_samples:
        raise DataError(f"waveform of shape {waveform.shape}, need (n_samples,) with n_samples >= {min_samples}")
    if not np.issubdtype(waveform.dtype, np.floating):
        raise DataError(f"waveform of {waveform.dtype}, need floats in [-1, 1]")
    if not np.isfinite(waveform).all():
        raise DataError("waveform with NaN or infinite samples")
    return waveform.astype(np.float32, copy=False)


def waveform() -> Extractor:
    """The samples themselves: 16,000 rows a second of one value in [-1, 1]."""
    return Extractor(
        name="waveform",
        modality="speech",
        dimensions=("amplitude",),
        rate_hz=float(SAMPLE_RATE),
        unit="amplitude, full scale is 1",
        compute=_samples,
    )


def log_power() -> Extractor:
    """`log_power_spectrogram`: 100 rows a second, a value a bin of 31.25 Hz."""
    return Extractor(
        name="log-power-spectrogram",
        modality="speech",
        dimensions=tuple(f"{hz:g} Hz" for hz in np.linspace(0, SAMPLE_RATE / 2, N_BINS)),
        rate_hz=1000 / SHIFT_MS,
        unit=f"natural logarithm of power + {POWER_FLOOR:g}",
        compute=log_power_spectrogram,
        settings=_framing(),
    )


def log_mel(n_mels: int = 80) -> Extractor:
    """`log_mel_spectrogram`: 100 rows a second, a value a band, named by its centre.

    Raises:
        ConfigError: `n_mels` is out of range, see `mel_filters`.
    """
    mel_filters(n_mels)  # refuses here rather than at the first utterance
    return Extractor(
        name="log-mel",
        modality="speech",
        dimensions=tuple(f"{hz:.1f} Hz" for hz in _mel_edges(n_mels)[1]),
        rate_hz=1000 / SHIFT_MS,
        unit=f"natural logarithm of power per Hz of the band + {POWER_FLOOR:g}",
        compute=partial(log_mel_spectrogram, n_mels=n_mels),
        settings={**_framing(), "n_mels": n_mels, "mel": "slaney"},
    )


def _power(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Power spectra of the frames: (n_samples,) -> (n_frames, 257)."""
    window_length, shift = sample_rate * WINDOW_MS // 1000, sample_rate * SHIFT_MS // 1000
    if window_length > N_FFT:
        raise ConfigError(f"sample rate {sample_rate}: a window of {window_length} samples, at most {N_FFT}")
    frames = sliding_window_view(check_waveform(waveform, window_length), window_length)[::shift]
    window = hann(window_length)
    spectrum: NDArray[np.complex64] = np.asarray(scipy.fft.rfft(frames * window, N_FFT, axis=1, workers=1))
    return spectrum.real**2 + spectrum.imag**2


def _mel_edges(n_mels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower edges, centres and upper edges of the bands in Hz, each (n_mels,)."""
    # Slaney's Auditory Toolbox (1998): linear to 1 kHz, 3 mel per 200 Hz; above it 27 mel per factor 6.4.
    knee_hz, knee_mel, step = 1000.0, 15.0, np.log(6.4) / 27
    mel = np.linspace(0, knee_mel + np.log(SAMPLE_RATE / 2 / knee_hz) / step, n_mels + 2)
    hz = np.where(mel < knee_mel, mel * 200 / 3, knee_hz * np.exp(step * (mel - knee_mel)))
    return hz[:-2], hz[1:-1], hz[2:]


def _framing() -> dict[str, float]:
    return {"window_ms": WINDOW_MS, "shift_ms": SHIFT_MS, "n_fft": N_FFT, "floor": POWER_FLOOR}


def _samples(waveform: np.ndarray) -> np.ndarray:
    """(n_samples,) -> (n_samples, 1)."""
    return check_waveform(waveform)[:, None]
