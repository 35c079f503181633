"""Spectra of a waveform."""

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.signal import get_window

from emofuse.errors import ConfigError, DataError

N_FFT = 512
N_BINS = N_FFT // 2 + 1
WINDOW_MS, SHIFT_MS = 25, 10
POWER_FLOOR = 1e-10
"""Added to the power before the logarithm; digital silence gives log(1e-10) = -23.03."""


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
    window_length, shift = sample_rate * WINDOW_MS // 1000, sample_rate * SHIFT_MS // 1000
    if window_length > N_FFT:
        raise ConfigError(f"sample rate {sample_rate}: a window of {window_length} samples, at most {N_FFT}")
    if waveform.ndim != 1 or len(waveform) < window_length:
        raise DataError(f"waveform of shape {waveform.shape}, need (n_samples,) with n_samples >= {window_length}")
    frames = sliding_window_view(waveform.astype(np.float32, copy=False), window_length)[::shift]
    window = np.asarray(get_window("hann", window_length), np.float32)
    spectrum: NDArray[np.complex64] = np.asarray(scipy.fft.rfft(frames * window, N_FFT, axis=1, workers=1))
    return np.log(spectrum.real**2 + spectrum.imag**2 + np.float32(POWER_FLOOR))
