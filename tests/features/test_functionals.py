"""Functionals: names in order, values by hand where they are simple, and no trace of the clip's length."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emofuse.errors import DataError
from emofuse.features.functionals import MODULATION_HZ, N_CEPSTRA, functionals
from emofuse.features.voice import N_BANDS, voice_rows

N = 8 * N_BANDS + 17 + N_CEPSTRA * (len(MODULATION_HZ) - 1)


def rows(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, N_BANDS + 3)).astype(np.float32)


def test_bands_by_hand():
    x = rows(200)
    x[:, -1] = 0  # the level never falls: every row is speech
    values = functionals(x)
    assert values.shape == (N,)
    bands = x[:, :N_BANDS]
    table = values[: 8 * N_BANDS].reshape(8, N_BANDS)
    assert table[0] == pytest.approx(bands.mean(0), abs=1e-5)
    assert table[1] == pytest.approx(bands.std(0), abs=1e-5)
    assert table[2] == pytest.approx(np.diff(bands, axis=0).std(0), abs=1e-5)
    assert table[3] == pytest.approx(np.abs(np.diff(bands, axis=0)).mean(0), abs=1e-5)
    assert table[4] == pytest.approx(table[0], abs=1e-5)
    assert table[7] == pytest.approx(np.percentile(bands, 95, axis=0), abs=1e-5)


def test_pauses_do_not_count_as_speech():
    x = rows(100)
    x[:50, -1], x[50:, -1] = 0, -20
    speech_mean = functionals(x)[4 * N_BANDS : 5 * N_BANDS]
    assert speech_mean == pytest.approx(x[:50, :N_BANDS].mean(0), abs=1e-5)
    assert functionals(x)[8 * N_BANDS + 15] == pytest.approx(0.5)  # share of speech


def test_melody_by_hand():
    x = rows(101)
    x[:, -3], x[:, -2], x[:, -1] = np.linspace(7, 8, 101), 0.9, 0
    melody = functionals(x)[8 * N_BANDS : 8 * N_BANDS + 17]
    assert melody[:5] == pytest.approx([7.05, 7.25, 7.5, 7.75, 7.95], abs=1e-4)
    assert melody[5] == pytest.approx(7.5, abs=1e-4)
    assert melody[7:10] == pytest.approx([0.01, 0, 0.01], abs=1e-4)  # an octave a second, always upwards
    assert melody[10:12] == pytest.approx([1, 0.9], abs=1e-4)


def test_modulation_is_where_it_is_made():
    time = np.arange(400) / 100
    x = np.zeros((400, N_BANDS + 3), np.float32)
    x[:, :N_BANDS] = np.sin(2 * np.pi * 5 * time)[:, None]  # all bands swell five times a second
    modulation = functionals(x)[8 * N_BANDS + 17 :].reshape(-1, N_CEPSTRA)
    assert modulation[:, 0].argmax() == MODULATION_HZ.index(4)
    assert modulation[:, 1:].max() < modulation[:, 0].max() - 5  # of the others there is nothing


def test_a_clip_twice_over_is_the_same_clip():
    x = rows(300)
    once, twice = functionals(x), functionals(np.concatenate([x, x]))
    assert twice[: 8 * N_BANDS] == pytest.approx(once[: 8 * N_BANDS], abs=0.02)
    assert twice[8 * N_BANDS + 17 :] == pytest.approx(once[8 * N_BANDS + 17 :], abs=1.5)


@settings(max_examples=30)
@given(st.integers(3, 2000), st.integers(0, 100))
def test_any_rows_give_finite_values(n: int, seed: int):
    x = rows(n, seed) * 10
    assert np.isfinite(functionals(x)).all()
    x[:, -2] = 0  # a whisper
    assert np.isfinite(functionals(x)).all()


def test_real_speech_is_not_clipped_noise(example_clip):
    from emofuse.media.audio import read_audio

    values = functionals(voice_rows(read_audio(example_clip)))
    melody = values[8 * N_BANDS : 8 * N_BANDS + 17]
    assert 6 < melody[2] < 8.5  # a pitch between 64 and 362 Hz
    assert 0.2 < melody[10] <= 1


@pytest.mark.parametrize("shape", [(2, N_BANDS + 3), (10, N_BANDS), (67,)])
def test_other_shapes_are_refused(shape: tuple[int, ...]):
    with pytest.raises(DataError, match="n_frames >= 3"):
        functionals(np.zeros(shape, np.float32))
