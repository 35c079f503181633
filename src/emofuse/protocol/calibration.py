"""Temperature scaling and how it is shown: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

N_LEAST = 10
"""Utterances that a bin must have for its accuracy to be drawn: of fewer it says nothing."""


def fit_temperature(logits: np.ndarray, y_true: np.ndarray) -> float:
    """The temperature in [0.2, 10] that gives (n, n_classes) logits the highest likelihood of labels (n,)."""

    def negative_log_likelihood(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scaled[np.arange(len(y_true)), y_true].mean())

    found = minimize_scalar(negative_log_likelihood, bounds=(np.log(0.2), np.log(10)), method="bounded")
    return float(np.exp(found.x))


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (..., n_classes) whose logits are divided by a temperature; the same shape, rows sum to 1."""
    return softmax(np.log(np.maximum(probabilities, 1e-12)) / temperature, axis=-1)


def reliability_figure(diagrams: Mapping[str, Sequence[Mapping[str, float]]], title: str) -> Figure:
    """How right a model is against how sure it is, a panel each; on the diagonal it is as right as it is sure.

    Args:
        diagrams: Name to what `emofuse.protocol.metrics.reliability_diagram` gives; at least one.
        title: Above the figure.
    """
    figure = Figure(figsize=(3.2 * len(diagrams), 3.6), layout="constrained")
    panels = figure.subplots(1, len(diagrams), sharey=True, squeeze=False)[0]
    for ax, (name, bins) in zip(panels, diagrams.items(), strict=True):
        n_all = sum(b["n"] for b in bins)
        ax.plot([0, 100], [0, 100], color="0.6", linewidth=0.8, linestyle="--")
        ax.bar(
            [100 * b["confidence"] for b in bins],
            [100 * b["n"] / n_all for b in bins],
            width=6,
            color="0.85",
            label="share of utterances",
        )
        told = [b for b in bins if b["n"] >= N_LEAST]
        ax.plot(
            [100 * b["confidence"] for b in told],
            [100 * b["accuracy"] for b in told],
            color="C0",
            marker="o",
            markersize=4,
            label="accuracy",
        )
        ax.set(xlim=(0, 100), ylim=(0, 100), xlabel="confidence, %", title=f"{name}, n = {n_all:,}")
        ax.title.set_fontsize(9)
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("%")
    panels[0].legend(fontsize=8, frameon=False, loc="upper left")
    figure.suptitle(title, fontsize=11)
    return figure
