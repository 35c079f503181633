import numpy as np
import pytest

from emofuse.protocol.ensemble import average_seeds
from emofuse.protocol.record import RunResult


def run(fold: str, seed: int, ids: tuple[str, ...], y_true: list[int], y_prob: list[float]) -> RunResult:
    """Of two classes; `y_prob` is of the second."""
    p = np.array(y_prob)
    groups = tuple(i[0] for i in ids)
    return RunResult(
        "mman", fold, seed, ("no", "yes"), 10, 2.0, 1, [], ids, groups, np.array(y_true), np.stack([1 - p, p], 1)
    )


def test_probabilities_are_averaged_over_seeds_whatever_their_order():
    runs = [
        run("a", 0, ("x", "y"), [1, 0], [0.4, 0.1]),
        run("b", 0, ("z",), [1], [0.3]),
        run("a", 1, ("y", "x"), [0, 1], [0.3, 0.8]),
        run("b", 1, ("z",), [1], [0.5]),
    ]
    first, second = average_seeds(runs)
    assert (first.fold, first.ids, first.groups, second.fold) == ("a", ("x", "y"), ("x", "y"), "b")
    np.testing.assert_allclose(first.y_prob[:, 1], [0.6, 0.2])
    np.testing.assert_array_equal(first.y_true, [1, 0])
    np.testing.assert_allclose(second.y_prob, [[0.6, 0.4]])
    assert first.metrics["wa"] == 1  # seed 0 alone is wrong about x
    assert runs[0].metrics["wa"] == 0.5
    assert (first.n_parameters, first.seconds) == (20, pytest.approx(4.0))


def test_one_seed_is_its_own_average():
    (only,) = average_seeds([run("a", 3, ("x", "y"), [1, 0], [0.4, 0.1])])
    np.testing.assert_allclose(only.y_prob[:, 1], [0.4, 0.1])
