import time
from math import comb

import numpy as np
import pytest

from emofuse.errors import ConfigError, DataError
from emofuse.protocol.metrics import compute_metrics
from emofuse.protocol.statistics import METRICS, bootstrap_ci, holm, mcnemar, paired_bootstrap, wilcoxon_runs


def predictions(n: int = 300, n_classes: int = 4, skill: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y_true = rng.integers(0, n_classes, n)
    logits = rng.normal(size=(n, n_classes)) + skill * np.eye(n_classes)[y_true]
    return y_true, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def groups_of(n: int, size: int) -> list[str]:
    return [f"d{i // size}" for i in range(n)]


@pytest.mark.parametrize("metric", METRICS)
def test_interval_equals_the_naive_bootstrap(metric):
    """Independent: copy the drawn groups' rows and score them with scikit-learn's metrics."""
    # unequal groups, the first of one class only, so that resamples may lack classes
    y_true, y_prob = predictions(60)
    order = np.argsort(y_true, kind="stable")
    y_true, y_prob = y_true[order], y_prob[order]
    groups = np.array(["a"] * 15 + ["b"] * 20 + ["c"] * 20 + ["d"] * 5)
    counts = np.random.default_rng(3).multinomial(4, [0.25] * 4, size=50)
    rows_of = [np.flatnonzero(groups == g) for g in "abcd"]
    naive = []
    for draw in counts:
        rows = np.concatenate([np.tile(rows_of[g], k) for g, k in enumerate(draw)])
        naive.append(compute_metrics(y_true[rows], y_prob[rows])[metric])
    expected = np.quantile(naive, [0.05, 0.95])
    interval = bootstrap_ci(list(groups), y_true, y_prob, metric, n_resamples=50, seed=3, level=0.9)
    assert interval == pytest.approx(tuple(expected), abs=1e-12)


def test_interval_holds_the_score_and_narrows_with_more_groups():
    y_true, y_prob = predictions(4_000)
    few = bootstrap_ci(groups_of(400, 10), y_true[:400], y_prob[:400], "wa")
    many = bootstrap_ci(groups_of(4_000, 10), y_true, y_prob, "wa")
    assert many[0] < compute_metrics(y_true, y_prob)["wa"] < many[1]
    assert many[1] - many[0] < 0.5 * (few[1] - few[0])


def test_interval_of_single_rows_is_the_binomial_one():
    y_true, y_prob = predictions(2_000)
    p = compute_metrics(y_true, y_prob)["wa"]
    low, high = bootstrap_ci(groups_of(2_000, 1), y_true, y_prob, "wa", n_resamples=4_000)
    half = 1.96 * np.sqrt(p * (1 - p) / 2_000)
    assert (low, high) == pytest.approx((p - half, p + half), abs=0.1 * half)


def test_stacking_the_same_predictions_twice_changes_nothing():
    # rows of a group come together; were they drawn alone, the interval would narrow by sqrt(2)
    y_true, y_prob = predictions()
    groups = groups_of(300, 10)
    once = bootstrap_ci(groups, y_true, y_prob, "ua")
    twice = bootstrap_ci(groups * 2, np.tile(y_true, 2), np.tile(y_prob, (2, 1)), "ua")
    assert once == pytest.approx(twice)


def test_same_seed_same_interval_and_fast():
    y_true, y_prob = predictions(5_000, n_classes=7)
    start = time.process_time()
    first = bootstrap_ci(groups_of(5_000, 40), y_true, y_prob, "f1_weighted")
    assert time.process_time() - start < 2
    assert first == bootstrap_ci(groups_of(5_000, 40), y_true, y_prob, "f1_weighted")
    assert first != bootstrap_ci(groups_of(5_000, 40), y_true, y_prob, "f1_weighted", seed=1)


def test_paired_bootstrap_of_the_same_system_says_nothing():
    y_true, y_prob = predictions()
    result = paired_bootstrap(groups_of(300, 10), y_true, y_prob, y_prob, "ua")
    assert result == {"difference": 0.0, "ci95": (0.0, 0.0), "p_value": 1.0}


@pytest.mark.parametrize("metric", ["wa", "ua", "f1_macro"])
def test_paired_bootstrap_finds_the_better_system_and_is_antisymmetric(metric):
    y_true, good = predictions(skill=3.0)
    _, weak = predictions(skill=1.0)
    groups = groups_of(300, 10)
    better = paired_bootstrap(groups, y_true, good, weak, metric)
    expected = compute_metrics(y_true, good)[metric] - compute_metrics(y_true, weak)[metric]
    assert better["difference"] == pytest.approx(expected)
    assert 0 < better["ci95"][0] < better["difference"] < better["ci95"][1]
    assert better["p_value"] == pytest.approx(2 / 2001)
    worse = paired_bootstrap(groups, y_true, weak, good, metric)
    assert worse["difference"] == -better["difference"]
    assert worse["ci95"] == pytest.approx((-better["ci95"][1], -better["ci95"][0]))
    assert worse["p_value"] == better["p_value"]


def test_mcnemar_by_hand():
    y_true = np.zeros(10, int)
    pred_a = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 0])
    pred_b = np.array([1, 1, 1, 1, 1, 0, 0, 1, 1, 0])
    # a alone is right 5 times, b alone once: 2 P(X <= 1), X ~ Binomial(6, 1/2)
    assert mcnemar(y_true, pred_a, pred_b) == pytest.approx(2 * (comb(6, 0) + comb(6, 1)) / 2**6)
    assert mcnemar(y_true, pred_b, pred_a) == mcnemar(y_true, pred_a, pred_b)
    assert mcnemar(y_true, pred_a, pred_a) == 1.0


def test_wilcoxon_by_hand():
    # five differences of one sign: 2 / 2**5
    assert wilcoxon_runs([0.5, 0.6, 0.7, 0.8, 0.9], [0.4, 0.4, 0.4, 0.4, 0.4]) == pytest.approx(2 / 2**5)
    assert wilcoxon_runs([0.5] * 4, [0.4] * 4) is None
    assert wilcoxon_runs([0.1 + 0.2] * 6, [0.3] * 6) is None
    # ties and a zero, without a warning
    assert 0 < (wilcoxon_runs([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.0, 0.1, 0.1, 0.3, 0.6, 0.6]) or 0) <= 1


def test_bad_input():
    y_true, y_prob = predictions(4)
    with pytest.raises(ConfigError, match="unknown metric 'acc'; known: wa, ua, f1_macro, f1_weighted, ece"):
        bootstrap_ci(["a", "a", "b", "b"], y_true, y_prob, "acc")
    with pytest.raises(DataError, match="3 groups for 4 predictions"):
        bootstrap_ci(["a", "a", "b"], y_true, y_prob, "wa")
    with pytest.raises(DataError, match="all rows are of one group: need two speakers or dialogues"):
        bootstrap_ci(["a"] * 4, y_true, y_prob, "wa")
    bad = y_prob.copy()
    bad[0] = np.nan
    with pytest.raises(DataError, match="1 of 4 predictions are NaN"):
        paired_bootstrap(["a", "a", "b", "b"], y_true, y_prob, bad, "wa")
    with pytest.raises(DataError, match="2 and 1 runs, need pairs"):
        wilcoxon_runs([0.1, 0.2], [0.1])
    with pytest.raises(DataError, match=r"labels \(4,\), predictions \(4,\) and \(3,\); need the same shape"):
        mcnemar(y_true, y_true, y_true[:3])


def test_holm_by_hand():
    # 3 x 0.01, 2 x 0.03, 1 x 0.04 but not below the one before it
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
