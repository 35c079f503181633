"""What a decision rests on, found by leaving it out."""

import numpy as np
import pytest

from emofuse.predictor import load
from emofuse.predictor.evidence import leave_out, leave_out_words


def loudest(versions: list[np.ndarray]) -> np.ndarray:
    """A model that decides by its largest value."""
    return np.array([rows.max() for rows in versions])


def test_the_stretch_that_decides_has_all_the_weight():
    rows = np.zeros((40, 2))
    rows[23] = 5
    assert leave_out(rows, 4, loudest).tolist() == [0, 0, 1, 0]


def test_stretches_share_by_what_their_absence_costs():
    def total(versions: list[np.ndarray]) -> np.ndarray:
        return np.array([rows.sum() for rows in versions])

    rows = np.repeat([[3.0], [1.0], [-2.0]], 10, axis=0)
    assert leave_out(rows, 3, total) == pytest.approx([0.75, 0.25, 0])  # without the third it is likelier


def test_what_cannot_be_told_is_shared_alike():
    assert leave_out(np.ones((40, 2)), 4, loudest).tolist() == [0.25] * 4
    assert leave_out(np.ones((4, 2)), 2, loudest).tolist() == [0.5, 0.5]  # too little would be left
    assert leave_out(np.ones((40, 2)), 1, loudest).tolist() == [1]


def test_words_share_by_what_their_absence_costs_and_among_their_pieces():
    def total(versions: list[np.ndarray]) -> np.ndarray:
        return np.array([float(ids.sum()) for ids in versions])

    pieces, words = np.array([6, 3, -4, 1]), np.array([0, 2, 3, 2])
    assert leave_out_words(pieces, words, total) == pytest.approx([0.6, 0.2, 0, 0.2])
    assert leave_out_words(pieces, np.zeros(4), total).tolist() == [0.25] * 4  # one word: nothing would be left


def test_the_model_that_ships_names_the_moments_it_rests_on():
    rng = np.random.default_rng(0)
    time = np.arange(16_000) / 16_000
    voice = sum(np.sin(2 * np.pi * 200 * k * time) / k for k in range(1, 8)) * 0.1
    quiet = rng.normal(0, 1e-3, 16_000)
    prediction = load().predict_array(np.concatenate([quiet, voice]).astype(np.float32))
    moments = prediction.moments
    assert [m.start_s for m in moments] == pytest.approx(np.arange(8) / 4, abs=0.01)
    assert sum(m.weight for m in moments) == pytest.approx(1, abs=1e-3)
    assert len({m.weight for m in moments}) > 2
