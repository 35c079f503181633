import numpy as np
import pytest

from emofuse.features.running import PRIOR, running_deviation


def test_by_hand():
    x = np.array([[6.0], [12.0], [6.0], [0.0]])
    assert PRIOR == 2
    # a: 6 - 6/3; b: 12 - 12/3; a: 6 - 12/4; a: 0 - 12/5
    np.testing.assert_allclose(running_deviation(x, ["a", "b", "a", "a"])[:, 0], [4, 8, 3, -2.4])
    # nobody is known: each is the first utterance of somebody
    np.testing.assert_allclose(running_deviation(x, [None] * 4), x * 2 / 3)


def test_the_future_and_others_do_not_matter():
    rng = np.random.default_rng(0)
    x, speakers = rng.normal(size=(8, 3)).astype(np.float32), list("abbabaab")
    full = running_deviation(x, speakers)
    assert full.dtype == np.float32
    for n in range(1, 8):
        np.testing.assert_array_equal(running_deviation(x[:n], speakers[:n]), full[:n])
    mine = np.array([s == "a" for s in speakers])
    np.testing.assert_allclose(running_deviation(x[mine], ["a"] * mine.sum()), full[mine], rtol=1e-6)


def test_an_offset_of_the_speaker_fades():
    """Who always speaks by 5 higher is, after a while, heard like one who does not."""
    x = np.random.default_rng(0).normal(size=(400, 1))
    moved = running_deviation(x + 5, ["a"] * 400) - running_deviation(x, ["a"] * 400)
    assert moved[0, 0] == pytest.approx(5 - 5 / 3)
    assert abs(moved[-1, 0]) < 0.05
