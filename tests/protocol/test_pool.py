"""The product of discounted experts, by hand and on experts whose reliability is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emofuse.protocol.pool import discounted, fit_reliability, pool


def test_by_hand():
    sure, other = np.array([0.9, 0.1]), np.array([0.2, 0.8])
    assert discounted(sure, 0.5) == pytest.approx([0.7, 0.3])
    # 0.7 * 0.2 against 0.3 * 0.8
    assert pool([sure, other], [0.5, 1.0]) == pytest.approx([0.14 / 0.38, 0.24 / 0.38])
    # together they are surer than either, which an average of logarithms would not be
    assert pool([sure, sure], [1.0, 1.0])[0] == pytest.approx(0.81 / 0.82)


def test_rows_are_pooled_one_by_one():
    rng = np.random.default_rng(0)
    a, b = rng.dirichlet(np.ones(4), (2, 5))
    together = pool([a, b], [0.7, 0.4])
    for i in range(5):
        assert together[i] == pytest.approx(pool([a[i], b[i]], [0.7, 0.4]))


@given(st.integers(2, 6), st.floats(0.05, 0.95), st.integers(0, 2**32 - 1))
def test_one_part_moves_the_odds_no_further_than_its_reliability_allows(n_classes, r, seed):
    certain = np.eye(n_classes)[0]
    other = np.random.default_rng(seed).dirichlet(np.ones(n_classes))
    before, after = discounted(other, 0.9), pool([other, certain], [0.9, r])
    gain = after[0] / after[1] / (before[0] / before[1])
    assert gain == pytest.approx(1 + n_classes * r / (1 - r), rel=1e-6)


def test_a_part_that_says_nothing_changes_nothing():
    p = np.array([0.5, 0.3, 0.2])
    assert pool([p, np.full(3, 1 / 3)], [1.0, 0.8]) == pytest.approx(p)
    assert pool([p, np.eye(3)[2]], [1.0, 0.0]) == pytest.approx(p)


def test_classes_are_believed_one_by_one():
    p = np.array([0.6, 0.3, 0.1])
    # 0.6 * 0.5, 0.3 * 1 and 0.1 * 0 are believed; of the rest, 0.4, each class gets a third
    assert discounted(p, np.array([0.5, 1.0, 0.0])) == pytest.approx([0.3 + 0.4 / 3, 0.3 + 0.4 / 3, 0.4 / 3])


def test_a_part_that_is_alone_decides_alone():
    p = np.array([0.6, 0.3, 0.1])
    assert pool([p], [0.2]).tolist() == p.tolist()


@pytest.mark.parametrize("shares", [(0.2, 0.6, 0.9), (0.5, 0.5, 0.5)])
def test_how_often_a_part_speaks_of_the_utterance_is_found(shares):
    rng = np.random.default_rng(1)
    n = 60_000
    says = rng.integers(0, 3, n)
    y_true = np.where(rng.random(n) < np.array(shares)[says], says, rng.integers(0, 3, n))
    # classes count the same in the fit: what is expected of a balanced truth is known only for equal shares
    found = fit_reliability(np.eye(3)[says], y_true)
    if len(set(shares)) == 1:
        assert found == pytest.approx(shares, abs=0.03)
    else:
        assert found[0] < found[1] < found[2]


def test_neutral_words_in_every_mood_are_hardly_evidence():
    rng = np.random.default_rng(2)
    y_true = rng.integers(0, 2, 20_000)
    says = np.where((y_true == 1) & (rng.random(20_000) < 0.4), 1, 0)  # 0 is said by all, 1 only where it is so
    quiet, telling = fit_reliability(np.eye(2)[says], y_true)
    assert telling > 0.95
    # P(0 | says 0) is 1 / 1.6
    assert quiet == pytest.approx(2 / 1.6 - 1, abs=0.02)


def test_a_part_that_is_worse_than_chance_is_hardly_believed():
    assert fit_reliability(np.eye(2)[[0, 1, 0, 1]], np.array([1, 0, 1, 0])).max() < 0.02
