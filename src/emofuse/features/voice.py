"""How a voice sounds, 100 times a second: spectrum, pitch, voicing and level, whatever the recording gain."""

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from emofuse.features.acoustic import SHIFT_MS, WINDOW_MS, check_waveform, hann, log_mel_spectrogram
from emofuse.features.extractor import Extractor
from emofuse.media.audio import SAMPLE_RATE, root_mean_square

N_BANDS = 64
ROOT_MEAN_SQUARE = 0.1
"""Level that every clip is brought to first."""

BAND_FLOOR = -13.0
"""Log power that a band is held above: some 60 dB below speech, so that a quiet studio is like a quiet room."""

MIN_PITCH_HZ, MAX_PITCH_HZ = 60.0, 500.0
_PITCH_RATE = SAMPLE_RATE // 2
_PITCH_WINDOW = _PITCH_RATE * 50 // 1000
_N_FFT = 1024
_OCTAVE_COST = 0.02  # of Boersma (1993): what a candidate loses for each octave that it is below the highest

_WINDOW, _SHIFT = SAMPLE_RATE * WINDOW_MS // 1000, SAMPLE_RATE * SHIFT_MS // 1000


def voice_rows(waveform: np.ndarray) -> np.ndarray:
    """Log-mel bands, pitch, voicing and level of a clip.

    Args:
        waveform: ``(n_samples,)`` in [-1, 1] at 16 kHz, at least 25 ms.

    Returns:
        float32 ``(n_frames, 67)``: 64 bands as `log_mel_spectrogram` gives them, not below `BAND_FLOOR`; log2 of
        the pitch in Hz; voicing in [0, 1]; natural logarithm of the power in 50 ms.

    Raises:
        DataError: The waveform is too short, or not one of finite floats.
    """
    waveform = check_waveform(waveform, _WINDOW)
    waveform = waveform * np.float32(ROOT_MEAN_SQUARE / max(root_mean_square(waveform), 1e-4))
    bands = np.maximum(log_mel_spectrogram(waveform, N_BANDS), BAND_FLOOR)
    return np.column_stack([bands, *pitch_and_level(waveform)]).astype(np.float32)


def pitch_and_level(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log2 of the pitch in Hz, voicing in [0, 1] and log power, ``(n_frames,)`` each, at the spectrum's frames.

    The autocorrelation of a Hann window of 50 ms over that of the window (Boersma, "Accurate short-term analysis of the
    fundamental frequency", 1993, Eq. 9), its highest peak between 60 and 500 Hz, a median of five frames over
    the pitch. The pitch of a frame without voice is whatever peak it has: read it with the voicing.
    """
    n_frames = 1 + (len(waveform) - _WINDOW) // _SHIFT
    half = waveform[: len(waveform) // 2 * 2].reshape(-1, 2).mean(axis=1)  # at most 500 Hz are asked for
    around = (_PITCH_WINDOW - _WINDOW // 2) // 2
    padded = np.pad(half, (around, _PITCH_WINDOW))
    frames = sliding_window_view(padded, _PITCH_WINDOW)[:: _SHIFT // 2][:n_frames]
    window = hann(_PITCH_WINDOW)
    correlation = _autocorrelation((frames - frames.mean(axis=1, keepdims=True)) * window)
    of_window = _autocorrelation(window[None])[0]
    lags = np.arange(int(SAMPLE_RATE / MAX_PITCH_HZ), int(SAMPLE_RATE / MIN_PITCH_HZ) + 1)
    power = correlation[:, :1]
    peaks = correlation[:, lags] / np.maximum(power, 1e-9) / (of_window[lags] / of_window[0])
    cost = np.float32(_OCTAVE_COST) * np.log2(lags / lags[0])
    best = (peaks - cost).argmax(axis=1)
    voicing = np.clip(peaks[np.arange(n_frames), best], 0, 1)
    pitch = median_filter(np.log2(SAMPLE_RATE / lags[best]), 5, mode="nearest")
    return pitch, voicing, np.log(power[:, 0] / _PITCH_WINDOW + 1e-8)


def _autocorrelation(frames: np.ndarray) -> np.ndarray:
    """(n_frames, n) at 8 kHz -> (n_frames, 2 n), lags of 1/16 ms: coarser ones are a tone apart for high voices."""
    spectrum: NDArray[np.complex64] = np.asarray(scipy.fft.rfft(frames, _N_FFT, axis=1, workers=1))
    power = spectrum.real**2 + spectrum.imag**2
    return 2 * np.asarray(scipy.fft.irfft(power, 2 * _N_FFT, axis=1, workers=1))[:, : 2 * frames.shape[1]]


def voice() -> Extractor:
    """`voice_rows`: 100 rows a second; their `functionals` are what `voice-mlp` reads."""
    return Extractor(
        name="voice",
        modality="speech",
        dimensions=(*(f"band {i}" for i in range(N_BANDS)), "pitch", "voicing", "level"),
        rate_hz=1000 / SHIFT_MS,
        unit="log power; log2 of Hz; share; log power",
        compute=voice_rows,
        settings={"n_bands": N_BANDS, "floor": BAND_FLOOR, "pitch_hz": [MIN_PITCH_HZ, MAX_PITCH_HZ]},
    )
