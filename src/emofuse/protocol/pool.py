"""Late fusion of parts that were trained apart: a product of experts, each believed as far as it has earned.

A part is trained and calibrated on data of its own, and may meet something quite different: another
microphone, words that say nothing of what is felt. When it says class k it speaks, with probability `r_k`, of the
utterance at hand; else it says nothing, which is the uniform distribution. So p becomes
sum_k p_k (r_k e_k + (1 - r_k) / K), and parts that err independently multiply (Hinton, "Training products of
experts by minimizing contrastive divergence", 2002). Reliabilities differ by class because words that sound neutral
are said in every mood, but sad ones seldom by the happy. However sure a part is of k, it moves the odds of two
classes by at most 1 + K r_k / (1 - r_k).
"""

from collections.abc import Sequence

import numpy as np

Reliability = float | np.ndarray
"""Of every class the same, or (n_classes,); in [0, 1]."""


def discounted(probabilities: np.ndarray, reliability: Reliability) -> np.ndarray:
    """Probabilities ``(..., n_classes)`` as far as they are believed; the same shape, rows sum to 1."""
    believed = probabilities * reliability
    return believed + (1 - believed.sum(axis=-1, keepdims=True)) / probabilities.shape[-1]


def pool(probabilities: Sequence[np.ndarray], reliabilities: Sequence[Reliability]) -> np.ndarray:
    """What the parts that are there say together: the normalised product of their discounted distributions.

    Args:
        probabilities: One array (..., n_classes) a part; at least one.
        reliabilities: One a part.

    Returns:
        (..., n_classes), sums to 1. A part that is alone decides alone: its own distribution, not discounted.
    """
    if len(probabilities) == 1:
        return probabilities[0]
    logs = [np.log(np.maximum(discounted(p, r), 1e-12)) for p, r in zip(probabilities, reliabilities, strict=True)]
    total = np.sum(logs, axis=0)
    product = np.exp(total - total.max(axis=-1, keepdims=True))
    return product / product.sum(axis=-1, keepdims=True)


def fit_reliability(probabilities: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    """Reliabilities (n_classes,) in [0.01, 0.99] under which labels are likeliest, every class counting the same.

    Args:
        probabilities: (n, n_classes) of one part, on data of a kind that it was not trained on.
        y_true: (n,) class indices.
    """
    from scipy.optimize import minimize  # it takes long to load, and predicting fits nothing

    n_classes = probabilities.shape[1]
    counts = np.bincount(y_true, minlength=n_classes)
    weights = 1 / counts[y_true] / np.count_nonzero(counts)
    given = np.eye(n_classes)[y_true] - 1 / n_classes

    def negative_log_likelihood(r: np.ndarray) -> tuple[float, np.ndarray]:
        believed = 1 / n_classes + (probabilities * r * given).sum(axis=1)
        slope = -(weights / believed) @ (probabilities * given)
        return -float(weights @ np.log(believed)), slope

    start, bounds = np.full(n_classes, 0.5), [(0.01, 0.99)] * n_classes
    return minimize(negative_log_likelihood, start, jac=True, bounds=bounds, method="L-BFGS-B").x
