import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emofuse.errors import ConfigError, DataError
from emofuse.features.acoustic import (
    log_mel,
    log_mel_spectrogram,
    log_power,
    log_power_spectrogram,
    mel_filters,
    waveform,
)


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
    with pytest.raises(ConfigError, match=r"sample rate 44100: a window of 1102 samples, at most 512"):
        log_power_spectrogram(noise(4_000), 44_100)


def slaney_hz(mel: float) -> float:
    """Slaney's scale, written the other way round: 200/3 Hz a mel up to 15 mel, then 27 mel a factor of 6.4."""
    return mel * 200 / 3 if mel <= 15 else 1_000 * 6.4 ** ((mel - 15) / 27)


def test_mel_filters_are_slaneys_triangles():
    filters = mel_filters(40)
    assert filters.shape == (40, 257)
    top = 15 + 27 * np.log(8) / np.log(6.4)
    assert slaney_hz(top) == pytest.approx(8_000)
    for m in (0, 17, 39):
        low, centre, high = (slaney_hz(top * (m + i) / 41) for i in range(3))
        for k in range(257):
            hz = k * 31.25
            rising, falling = (hz - low) / (centre - low), (high - hz) / (high - centre)
            inside = rising if low <= hz <= centre else falling if centre < hz <= high else 0.0
            assert filters[m, k] == pytest.approx(inside * 2 / (high - low), abs=1e-7)


@pytest.mark.parametrize("n_mels", [40, 64, 80])
def test_mel_filters_equal_those_of_transformers(n_mels):
    audio_utils = pytest.importorskip("transformers.audio_utils")
    theirs = audio_utils.mel_filter_bank(257, n_mels, 0.0, 8_000.0, 16_000, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(mel_filters(n_mels), theirs.T, atol=1e-7)


def test_log_mel_weighs_the_power_of_the_bins():
    signal = noise(1_000)
    power = np.exp(log_power_spectrogram(signal).astype(np.float64)) - 1e-10
    filters = mel_filters(40)
    for frame, m in [(0, 0), (1, 20), (3, 39)]:
        expected = np.log(sum(filters[m, k] * power[frame, k] for k in range(257)) + 1e-10)
        assert log_mel_spectrogram(signal, 40)[frame, m] == pytest.approx(expected, abs=1e-4)


def test_a_tone_is_in_the_band_that_is_named_after_it():
    extractor = log_mel()
    band = 30
    hz = float(extractor.dimensions[band].removesuffix(" Hz"))
    tone = np.sin(2 * np.pi * hz * np.arange(16_000) / 16_000).astype(np.float32)
    assert (extractor(tone).argmax(axis=1) == band).all()


def test_extractors_say_what_they_give():
    silence = np.zeros(16_000, np.float32)
    for extractor, rows, names, rate in [
        (waveform(), 16_000, ("amplitude",), 16_000),
        (log_power(), 98, ("0 Hz", "31.25 Hz", "62.5 Hz"), 100),
        (log_mel(), 98, ("37.2 Hz", "74.5 Hz", "111.7 Hz"), 100),
    ]:
        assert extractor.dimensions[:3] == names
        assert len(set(extractor.dimensions)) == len(extractor.dimensions)
        assert extractor(silence).shape == (rows, len(extractor.dimensions))
        assert extractor(silence[:1_600]).dtype == np.float32
        assert extractor.rate_hz == rate
        assert extractor.unit
        assert extractor.modality == "speech"
        json.dumps(dict(extractor.settings))
        again = pickle.loads(pickle.dumps(extractor))
        np.testing.assert_array_equal(again(noise(800)), extractor(noise(800)))
    np.testing.assert_array_equal(waveform()(noise(9))[:, 0], noise(9))
    assert log_mel()(silence) == pytest.approx(np.log(1e-10))
    assert log_mel(40).settings != log_mel(80).settings


def test_refused_waveforms_and_bands():
    with pytest.raises(DataError, match=r"^waveform of int16, need floats in \[-1, 1\]$"):
        log_mel()(np.zeros(800, np.int16))
    with pytest.raises(DataError, match=r"^waveform with NaN or infinite samples$"):
        waveform()(np.array([0.0, np.nan]))
    with pytest.raises(DataError, match=r"^waveform of shape \(0,\), need"):
        waveform()(np.zeros(0, np.float32))
    with pytest.raises(ConfigError, match=r"200 mel bands: the lowest are narrower than a bin of 31.25 Hz"):
        log_mel(200)
    with pytest.raises(ConfigError, match=r"0 mel bands, need at least 1"):
        log_mel(0)
