"""What a system's score costs: parameters and training time."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator


def seconds_a_run(entry: dict[str, Any]) -> tuple[float, str]:
    """Mean training time of a system's runs, and which: the processor's where every run has it."""
    n_runs = len(entry["runs"])
    return (entry["cpu_seconds"] / n_runs, "CPU") if entry["cpu_seconds"] else (entry["seconds"] / n_runs, "wall-clock")


def cost_figure(report: dict[str, Any], ylabel: str, title: str) -> Figure:
    """The primary metric of every system with its interval, over parameters and over training time.

    Args:
        report: What `benchmark.summarise` gives.
        ylabel: Name of the metric, in per cent.
        title: Above the figure.
    """
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for i, (name, entry) in enumerate(report["systems"].items()):
        scores = entry["metrics"][report["primary_metric"]]
        mean, (low, high) = scores["mean"], scores["ci95"]
        # The interval is about the pooled score, from which the mean over runs may stray beyond it.
        bar = [[100 * max(mean - low, 0)], [100 * max(high - mean, 0)]]
        style = {
            "color": f"C{i % 10}",
            "marker": "osD^v"[i // 10 % 5],
            "markersize": 6,
            "capsize": 2,
            "elinewidth": 0.8,
        }
        left.errorbar([entry["n_parameters"]], [100 * mean], bar, linestyle="none", label=name, **style)
        right.errorbar([seconds_a_run(entry)[0]], [100 * mean], bar, linestyle="none", **style)
    clocks = sorted({seconds_a_run(entry)[1] for entry in report["systems"].values()})
    for ax, xlabel in ((left, "parameters"), (right, f"training, {' or '.join(clocks)} seconds a run")):
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel(xlabel)
        ax.grid(color="0.9", linewidth=0.7)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    left.set_ylabel(ylabel)
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=11)
    return figure
