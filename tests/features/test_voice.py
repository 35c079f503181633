"""Pitch, voicing and level of sounds whose pitch is known, and what a recording may change."""

import numpy as np
import pytest

from emofuse.errors import DataError
from emofuse.features.acoustic import log_power_spectrogram
from emofuse.features.voice import N_BANDS, pitch_and_level, voice, voice_rows
from emofuse.media.audio import SAMPLE_RATE

TIME = np.arange(SAMPLE_RATE) / SAMPLE_RATE


def buzz(hz: float | np.ndarray, level: float = 0.1) -> np.ndarray:
    """A voice-like sound of seven harmonics; `hz` may change over the second."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hz, TIME.shape)) / SAMPLE_RATE
    return (level * sum(np.sin(k * phase) / k for k in range(1, 8))).astype(np.float32)


@pytest.mark.parametrize("hz", [70, 110, 220, 330, 480])
def test_the_pitch_of_a_buzz_is_found(hz: float):
    pitch, voicing, _ = pitch_and_level(buzz(hz))
    assert 2 ** np.median(pitch) == pytest.approx(hz, rel=0.02)
    assert voicing.mean() > 0.95


def test_a_glide_is_followed_where_it_is():
    pitch, _, _ = pitch_and_level(buzz(np.linspace(100, 300, SAMPLE_RATE)))
    centres = (np.arange(len(pitch)) * 10 + 12.5) / 1000  # of the spectrum's frames
    expected = 100 + 200 * centres
    inner = slice(3, -5)  # the outermost frames reach over the ends
    assert 2 ** pitch[inner] == pytest.approx(expected[inner], rel=0.06)


def test_noise_has_no_voice():
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    assert pitch_and_level(noise)[1].mean() < 0.3


def test_level_is_the_log_power():
    _, _, level = pitch_and_level(buzz(100, 0.1))
    _, _, louder = pitch_and_level(buzz(100, 0.2))
    assert np.median(louder - level) == pytest.approx(np.log(4), abs=0.01)


@pytest.mark.parametrize("n_samples", [400, 401, 559, 560, 8000, 12_345])
def test_rows_are_those_of_the_spectrogram(n_samples: int):
    clip = np.random.default_rng(1).normal(0, 0.1, n_samples).astype(np.float32)
    rows = voice_rows(clip)
    assert rows.shape == (len(log_power_spectrogram(clip)), N_BANDS + 3)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()


def test_the_recording_gain_does_not_matter():
    clip = buzz(150)
    assert voice_rows(0.05 * clip) == pytest.approx(voice_rows(clip), abs=1e-3)


def test_silence_and_too_little_are_settled():
    assert np.isfinite(voice_rows(np.zeros(1000, np.float32))).all()
    with pytest.raises(DataError, match="n_samples >= 400"):
        voice_rows(np.zeros(399, np.float32))


def test_the_extractor_names_its_values():
    extractor = voice()
    assert extractor(buzz(100)).shape == (98, len(extractor.dimensions))
    assert extractor.dimensions[-3:] == ("pitch", "voicing", "level")
    assert extractor.rate_hz == 100
