"""Figures of a benchmark's runs. Made without pyplot, which keeps global state and chooses a window system."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from emofuse.protocol.metrics import METRIC_NAMES, confusion
from emofuse.protocol.record import RunResult


def confusion_figure(runs: Sequence[RunResult], title: str) -> Figure:
    """Counts summed over runs, shaded by their share of the row; one panel for each set of classes."""
    panels = list(dict.fromkeys(r.classes for r in runs))
    widest = max(len(classes) for classes in panels)
    size = max(2.4, 0.85 * widest)
    n_columns = min(len(panels), 4)
    n_rows = -(-len(panels) // n_columns)
    figure = Figure(figsize=(n_columns * (size + 1.1), n_rows * (size + 0.7) + 0.5), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False).flatten()
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    for ax, classes in zip(axes, panels, strict=False):
        chosen = [r for r in runs if r.classes == classes]
        counts = sum(confusion(r.y_true, r.y_prob.argmax(axis=1), len(classes)) for r in chosen)
        _draw_confusion(ax, np.asarray(counts), classes)
        n_runs = f"{len(chosen)} runs" if len(chosen) > 1 else "1 run"
        ax.set_title(f"{chosen[0].fold}, {n_runs}" if len(panels) > 1 else f"sum of {n_runs}", fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure


def _draw_confusion(ax: Axes, counts: np.ndarray, classes: Sequence[str]) -> None:
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (true, predicted), count in np.ndenumerate(counts):
        colour = "white" if share[true, predicted] > 0.65 else "black"
        text = f"{count}\n{100 * share[true, predicted]:.0f} %"
        ax.text(predicted, true, text, ha="center", va="center", color=colour, fontsize=8)
    ticks = range(len(classes))
    slanted = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(ticks, classes, **(slanted if len(classes) > 2 else {}))
    ax.set_yticks(ticks, classes)
    ax.tick_params(length=0, labelsize=9)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")


def curves_figure(runs: Sequence[RunResult], metric: str, selection: str, title: str, window: int = 1) -> Figure:
    """Training loss and selection metric over epochs, a line a run; a dot marks the chosen epoch.

    Args:
        runs: Of one system.
        metric: Key of a history entry.
        selection: ``dev`` or ``test``: what the metric was computed on.
        title: Above the figure.
        window: The selection's score is the mean over so many last epochs.
    """
    figure = Figure(figsize=(7, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    folds = list(dict.fromkeys(r.fold for r in runs))
    for r in runs:
        epochs = np.array([e["epoch"] for e in r.history])
        values = 100 * np.array([e[metric] for e in r.history])
        means = [values[max(0, i - window + 1) : i + 1].mean() for i in range(len(values))]
        colour = f"C{folds.index(r.fold) % 10}"
        chosen = epochs == r.best_epoch
        for ax, ys in ((top, np.array([e["loss"] for e in r.history])), (bottom, np.array(means))):
            ax.plot(epochs, ys, color=colour, linewidth=0.9, alpha=0.7)
            ax.plot(epochs[chosen], ys[chosen], "o", color=colour, markersize=5, markeredgecolor="white")
    for fold in folds if 1 < len(folds) <= 10 else []:
        top.plot([], [], color=f"C{folds.index(fold)}", label=fold)
    top.plot([], [], "o", color="0.4", markersize=5, label="chosen epoch")
    top.legend(fontsize=8, frameon=False, title="fold" if 1 < len(folds) <= 10 else None, title_fontsize=8)
    top.set_ylabel("training loss")
    averaged = f", mean of {window} epochs" if window > 1 else ""
    bottom.set_ylabel(f"{METRIC_NAMES[metric]} on {selection}, %{averaged}")
    bottom.set_xlabel("epoch")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in (top, bottom):
        ax.grid(color="0.9", linewidth=0.7)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    return figure
