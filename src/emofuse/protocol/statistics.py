"""How sure a score, or the difference of two scores, is."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from scipy.stats import binomtest, wilcoxon

from emofuse.errors import ConfigError, DataError
from emofuse.protocol.metrics import calibration_bins, check_predictions

METRICS = ("wa", "ua", "f1_macro", "f1_weighted", "ece")
"""Names that the bootstrap takes; the keys of `compute_metrics`."""

_N_BINS = 15
_MIN_PAIRS = 5  # the smallest two-sided p of a signed-rank test of four pairs is 0.125


class PairedBootstrap(TypedDict):
    """Comparison of systems a and b.

    Attributes:
        difference: Metric of a minus metric of b.
        ci95: 95 % percentile interval of the difference.
        p_value: Two-sided, in (0, 1].
    """

    difference: float
    ci95: tuple[float, float]
    p_value: float


def bootstrap_ci(
    groups: Sequence[str],
    y_true: np.ndarray,
    y_prob: np.ndarray,
    metric: str,
    n_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a metric over resampled groups (speakers or dialogues).

    Utterances of a group are not independent, so groups are drawn with replacement and all rows of
    a drawn group come together; so do the predictions of several seeds, stacked as further rows.

    Args:
        groups: Group of each row, n.
        y_true: Class indices ``(n,)``.
        y_prob: Probabilities ``(n, n_classes)``.
        metric: One of `METRICS`.
        n_resamples: Number of draws.
        seed: Of the draws.
        level: Mass of the interval, in (0, 1).

    Raises:
        DataError: Fewer than two groups, shapes that do not fit, or see `check_predictions`.
        ConfigError: Unknown metric.
    """
    sums = _group_sums(groups, y_true, y_prob, metric)
    values = _metric(_draws(len(sums), n_resamples, seed) @ sums, metric)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_bootstrap(
    groups: Sequence[str],
    y_true: np.ndarray,
    prob_a: np.ndarray,
    prob_b: np.ndarray,
    metric: str,
    n_resamples: int = 2000,
    seed: int = 0,
) -> PairedBootstrap:
    """Difference of two systems on the same rows; arguments and errors as for `bootstrap_ci`.

    The p-value is twice the smaller share of draws on either side of 0, the observed sample counted
    as one draw, so it is never 0.
    """
    sums_a, sums_b = (_group_sums(groups, y_true, prob, metric) for prob in (prob_a, prob_b))
    draws = _draws(len(sums_a), n_resamples, seed)
    differences = _metric(draws @ sums_a, metric) - _metric(draws @ sums_b, metric)
    observed = _metric(sums_a.sum(axis=0), metric) - _metric(sums_b.sum(axis=0), metric)
    low, high = np.quantile(differences, [0.025, 0.975])
    smaller = min((differences <= 0).sum(), (differences >= 0).sum())
    p_value = min(1.0, 2 * (smaller + 1) / (n_resamples + 1))
    return {"difference": float(observed), "ci95": (float(low), float(high)), "p_value": float(p_value)}


def mcnemar(y_true: np.ndarray, pred_a: np.ndarray, pred_b: np.ndarray) -> float:
    """Exact two-sided p of McNemar's test that a and b are right equally often; 1 if they never differ.

    It takes utterances as independent; `paired_bootstrap` does not.

    Args:
        y_true: Class indices ``(n,)``.
        pred_a: Predicted class indices ``(n,)`` of system a.
        pred_b: The same of system b.

    Raises:
        DataError: Shapes differ.
    """
    if not y_true.shape == pred_a.shape == pred_b.shape:
        raise DataError(f"labels {y_true.shape}, predictions {pred_a.shape} and {pred_b.shape}; need the same shape")
    right_a, right_b = pred_a == y_true, pred_b == y_true
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979): the chance of a single false find stays below the level."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def wilcoxon_runs(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test over paired runs (the same fold and seed).

    Returns:
        None when it can say nothing: fewer than 5 pairs, or all pairs equal.

    Raises:
        DataError: Numbers of runs differ.
    """
    if len(a) != len(b):
        raise DataError(f"{len(a)} and {len(b)} runs, need pairs")
    # Scores are counts divided by counts: equal ones may differ by rounding.
    differences = np.round(np.subtract(a, b), 12)
    if len(differences) < _MIN_PAIRS or not differences.any():
        return None
    result: Any = wilcoxon(differences)  # SciPy's stubs do not know its fields
    return float(result.pvalue)


def _group_sums(groups: Sequence[str], y_true: np.ndarray, y_prob: np.ndarray, metric: str) -> np.ndarray:
    """Sums per group from which the metric follows: ``(n_groups, n_sums)`` float64.

    For ECE: per bin the sum of (correct - confidence), then the number of rows. Otherwise the
    confusion counts, row-major.
    """
    if metric not in METRICS:
        raise ConfigError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")
    check_predictions(y_true, y_prob)
    if len(groups) != len(y_true):
        raise DataError(f"{len(groups)} groups for {len(y_true)} predictions")
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        raise DataError("all rows are of one group: need two speakers or dialogues for an interval")
    n_classes, y_pred = y_prob.shape[1], y_prob.argmax(axis=1)
    if metric == "ece":
        sums = np.zeros((len(names), _N_BINS + 1))
        np.add.at(sums, (group, calibration_bins(y_prob, _N_BINS)), (y_pred == y_true) - y_prob.max(axis=1))
        sums[:, _N_BINS] = np.bincount(group)
    else:
        sums = np.zeros((len(names), n_classes**2))
        np.add.at(sums, (group, y_true * n_classes + y_pred), 1)
    return sums


def _draws(n_groups: int, n_resamples: int, seed: int) -> np.ndarray:
    """How often each group is drawn: ``(n_resamples, n_groups)`` float64, rows sum to n_groups."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_resamples).astype(np.float64)


def _metric(sums: np.ndarray, metric: str) -> np.ndarray:
    """``(..., n_sums) -> (...)``; the same definitions as in `protocol.metrics`."""
    if metric == "ece":
        return np.abs(sums[..., :-1]).sum(axis=-1) / sums[..., -1]
    n_classes = round(sums.shape[-1] ** 0.5)
    counts = sums.reshape(*sums.shape[:-1], n_classes, n_classes)
    right, true, predicted = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1), counts.sum(axis=-2)
    if metric == "wa":
        return right.sum(axis=-1) / true.sum(axis=-1)
    score = right / np.maximum(true, 1) if metric == "ua" else 2 * right / np.maximum(true + predicted, 1)
    # A class absent from the truth has right = 0 and so adds 0; it must not count in the mean either.
    weights = true if metric == "f1_weighted" else (true > 0).astype(np.float64)
    return (score * weights).sum(axis=-1) / weights.sum(axis=-1)
