import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emofuse.errors import ConfigError, DataError
from emofuse.features.acoustic import log_power_spectrogram


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, n).astype(np.float32)


@given(st.integers(400, 5_000))
def test_number_of_frames(n):
    spectrogram = log_power_spectrogram(np.zeros(n, np.float32))
    assert spectrogram.shape == (1 + (n - 400) // 160, 257)
    assert spectrogram.dtype == np.float32


def test_equals_the_discrete_fourier_sum():
    waveform = noise(1_000)
    n = np.arange(400)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 400)
    spectrogram = log_power_spectrogram(waveform)
    for frame, k in [(0, 0), (1, 17), (3, 256)]:
        x = waveform[160 * frame : 160 * frame + 400].astype(np.float64)
        power = abs(np.sum(window * x * np.exp(-2j * np.pi * k * n / 512))) ** 2
        assert spectrogram[frame, k] == pytest.approx(np.log(power + 1e-10), abs=1e-3)


def test_silence_is_the_floor_and_a_sine_peaks_at_its_bin():
    assert log_power_spectrogram(np.zeros(800, np.float32)) == pytest.approx(np.log(1e-10))
    sine = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000).astype(np.float32)
    assert (log_power_spectrogram(sine).argmax(axis=1) == 1_000 * 512 // 16_000).all()


def test_a_shift_of_one_hop_shifts_the_frames_and_doubling_adds_log_4():
    waveform = noise(4_000)
    spectrogram = log_power_spectrogram(waveform)
    np.testing.assert_array_equal(log_power_spectrogram(waveform[160:]), spectrogram[1:])
    np.testing.assert_allclose(log_power_spectrogram(2 * waveform), spectrogram + np.log(4), atol=1e-3)


def test_bad_input():
    with pytest.raises(DataError, match=r"waveform of shape \(399,\), need \(n_samples,\) with n_samples >= 400"):
        log_power_spectrogram(noise(399))
    with pytest.raises(DataError, match=r"waveform of shape \(2, 400\)"):
        log_power_spectrogram(np.zeros((2, 400), np.float32))
    with pytest.raises(ConfigError, match="sample rate 44100: a window of 1102 samples, at most 512"):
        log_power_spectrogram(noise(4_000), 44_100)
