"""Scores of predictions; every one is a fraction of 1."""

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from emofuse.errors import DataError

METRIC_NAMES = {"wa": "WA", "ua": "UA", "f1_macro": "macro F1", "f1_weighted": "weighted F1", "ece": "ECE"}
"""How a metric is called in tables and figures."""


def weighted_accuracy(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """WA: the share of correct predictions. ``(n,), (n,)`` of class indices."""
    return float(accuracy_score(y_true, y_pred))


def unweighted_accuracy(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """UA: the mean recall over the classes that are present in `y_true`. ``(n,), (n,)``."""
    return float(recall_score(y_true, y_pred, labels=np.unique(y_true), average="macro"))


def f1_macro(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Mean F1 over the classes that are present in `y_true`, as in UA. ``(n,), (n,)``.

    scikit-learn's default also averages the zeros of classes that were only predicted.
    """
    return float(f1_score(y_true, y_pred, labels=np.unique(y_true), average="macro"))


def f1_weighted(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Mean F1 weighted by each class' number of true utterances. ``(n,), (n,)``."""
    return float(f1_score(y_true, y_pred, labels=np.unique(y_true), average="weighted"))


def recalls(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> list[float | None]:
    """Recall of every class; None for a class that is absent from `y_true`. ``(n,), (n,)``."""
    counts = confusion(y_true, y_pred, n_classes)
    support = counts.sum(axis=1)
    return [float(counts[c, c] / support[c]) if support[c] else None for c in range(n_classes)]


def confusion(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts ``(n_classes, n_classes)``: rows are the truth, columns the prediction."""
    return confusion_matrix(y_true, y_pred, labels=np.arange(n_classes))


def calibration_bins(y_prob: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin ``(n,)`` of each prediction's confidence: bin b holds (b / n_bins, (b + 1) / n_bins]."""
    return np.clip(np.ceil(y_prob.max(axis=1) * n_bins).astype(int) - 1, 0, n_bins - 1)


def expected_calibration_error(y_true: np.ndarray, y_prob: np.ndarray, n_bins: int = 15) -> float:
    """ECE (Guo et al. 2017, Eq. 3): mean over predictions of |accuracy - confidence| of their bin.

    Args:
        y_true: Class indices ``(n,)``.
        y_prob: Probabilities ``(n, n_classes)``.
        n_bins: Bins of equal width over the confidence, the largest probability.
    """
    # Per bin, |accuracy - confidence| * n_bin is the absolute sum of (correct - confidence).
    gap = (y_prob.argmax(axis=1) == y_true) - y_prob.max(axis=1)
    return float(np.abs(np.bincount(calibration_bins(y_prob, n_bins), gap, n_bins)).sum() / len(y_true))


def reliability_diagram(y_true: np.ndarray, y_prob: np.ndarray, n_bins: int = 10) -> list[dict[str, float]]:
    """How sure and how right: ``n``, mean ``confidence`` and ``accuracy`` of each bin of confidence that is not empty.

    Args:
        y_true: Class indices ``(n,)``.
        y_prob: Probabilities ``(n, n_classes)``.
        n_bins: Bins of equal width over the confidence.
    """
    bins, confidence = calibration_bins(y_prob, n_bins), y_prob.max(axis=1)
    correct = y_prob.argmax(axis=1) == y_true
    return [
        {
            "n": int((bins == b).sum()),
            "confidence": float(confidence[bins == b].mean()),
            "accuracy": float(correct[bins == b].mean()),
        }
        for b in np.unique(bins)
    ]


def compute_metrics(y_true: np.ndarray, y_prob: np.ndarray) -> dict[str, float]:
    """WA, UA, F1 and ECE under the keys ``wa``, ``ua``, ``f1_macro``, ``f1_weighted`` and ``ece``.

    Args:
        y_true: Class indices ``(n,)``, n > 0.
        y_prob: Probabilities ``(n, n_classes)``; the prediction is the most probable class.

    Raises:
        DataError: See `check_predictions`.
    """
    check_predictions(y_true, y_prob)
    y_pred = y_prob.argmax(axis=1)
    return {
        "wa": weighted_accuracy(y_true, y_pred),
        "ua": unweighted_accuracy(y_true, y_pred),
        "f1_macro": f1_macro(y_true, y_pred),
        "f1_weighted": f1_weighted(y_true, y_pred),
        "ece": expected_calibration_error(y_true, y_prob),
    }


def check_predictions(y_true: np.ndarray, y_prob: np.ndarray) -> None:
    """Refuse what would give a score without meaning.

    Raises:
        DataError: No predictions, shapes that do not fit, class indices out of range, NaN, or rows
            that are not probabilities.
    """
    if y_true.ndim != 1 or y_prob.ndim != 2 or len(y_true) != len(y_prob) or y_prob.size == 0:
        raise DataError(f"labels {y_true.shape} and probabilities {y_prob.shape}; need (n,) and (n, n_classes), n > 0")
    n_classes = y_prob.shape[1]
    if y_true.min() < 0 or y_true.max() >= n_classes:
        raise DataError(f"labels from {y_true.min()} to {y_true.max()}, but there are {n_classes} classes")
    if np.isnan(y_prob).any():
        raise DataError(f"{int(np.isnan(y_prob).any(axis=1).sum())} of {len(y_prob)} predictions are NaN")
    if y_prob.min() < 0 or not np.allclose(y_prob.sum(axis=1), 1.0, atol=1e-3):
        raise DataError("predictions are not probabilities: rows must be non-negative and sum to 1")
