"""Temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax


def fit_temperature(logits: np.ndarray, y_true: np.ndarray) -> float:
    """The temperature in [0.2, 10] that gives (n, n_classes) logits the highest likelihood of labels (n,)."""

    def negative_log_likelihood(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scaled[np.arange(len(y_true)), y_true].mean())

    found = minimize_scalar(negative_log_likelihood, bounds=(np.log(0.2), np.log(10)), method="bounded")
    return float(np.exp(found.x))
