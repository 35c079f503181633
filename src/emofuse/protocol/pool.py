"""Late fusion of parts that were trained apart: a product of experts, each believed as far as it has earned.

A part is trained and calibrated on data of its own, and may meet something quite different: another
microphone, words that say nothing of what is felt. With probability `r`, its reliability, it speaks of
the utterance at hand; else it says nothing, which is the uniform distribution. So p_i becomes
r_i p_i + (1 - r_i) / K, and parts that err independently multiply (Hinton, "Training products of experts by
minimizing contrastive divergence", 2002, for the product; Jordan & Jacobs, "Hierarchical mixtures of
experts and the EM algorithm", 1994, for fitting a mixture's weight by likelihood). However sure a part is,
it moves the odds of two classes by at most 1 + K r / (1 - r).
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar


def discounted(probabilities: np.ndarray, reliability: float) -> np.ndarray:
    """r p + (1 - r) / K. ``(..., n_classes)``, r in [0, 1] -> the same shape."""
    return reliability * probabilities + (1 - reliability) / probabilities.shape[-1]


def pool(probabilities: Sequence[np.ndarray], reliabilities: Sequence[float]) -> np.ndarray:
    """The normalised product of the discounted distributions of the parts that are there.

    Args:
        probabilities: One array (..., n_classes) a part; at least one.
        reliabilities: One in [0, 1] a part.

    Returns:
        (..., n_classes), sums to 1. Of a single part: its discounted distribution, the same order of classes.
    """
    logs = [np.log(np.maximum(discounted(p, r), 1e-12)) for p, r in zip(probabilities, reliabilities, strict=True)]
    total = np.sum(logs, axis=0)
    product = np.exp(total - total.max(axis=-1, keepdims=True))
    return product / product.sum(axis=-1, keepdims=True)


def fit_reliability(probabilities: np.ndarray, y_true: np.ndarray) -> float:
    """The reliability in [0.01, 0.99] under which labels are likeliest, every class counting the same.

    Args:
        probabilities: (n, n_classes) of one part, on data of a kind that it was not trained on.
        y_true: (n,) class indices.
    """
    counts = np.bincount(y_true, minlength=probabilities.shape[1])
    weights = 1 / counts[y_true]
    given = probabilities[np.arange(len(y_true)), y_true]
    n_classes = probabilities.shape[1]

    def negative_log_likelihood(r: float) -> float:
        return -float(weights @ np.log(r * given + (1 - r) / n_classes))

    return float(minimize_scalar(negative_log_likelihood, bounds=(0.01, 0.99), method="bounded").x)
