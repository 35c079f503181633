"""What is left of a fused system's score when modalities are removed: numbers, table and figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emofuse.protocol.benchmark import Plan
from emofuse.protocol.record import RunResult
from emofuse.protocol.splits import protocol
from emofuse.protocol.statistics import bootstrap_ci, paired_bootstrap
from emofuse.protocol.summary import pooled


def summarise_subsets(plan: Plan, results: Sequence[RunResult]) -> dict[str, Any]:
    """What `Plan.subsets` adds to ``report.json``: ``subsets``, system to what was left to its scores."""
    if not plan.subsets:
        return {}
    primary = protocol(plan.recipe.protocol).metric
    subsets: dict[str, dict[str, Any]] = {}
    for name in plan.recipe.systems:
        complete = [r for r in results if r.system == name]
        for kept in plan.recipe.subsets(name):
            runs = [_record(plan, r, kept) for r in complete]
            if name not in subsets:
                subsets[name] = {"+".join(plan.recipe.modalities(name)): _scores(complete, complete, primary)}
            subsets[name]["+".join(kept)] = _scores(runs, complete, primary)
    return {"subsets": subsets}


def _record(plan: Plan, run: RunResult, kept: tuple[str, ...]) -> RunResult:
    folder = plan.subset_folders(run.system, run.fold, run.seed)[kept]
    record = RunResult.load(folder, plan.fingerprint)
    assert record is not None, folder  # `Session.run` has written it
    return record


def _scores(runs: Sequence[RunResult], complete: Sequence[RunResult], primary: str) -> dict[str, Any]:
    """Scores of runs, and how far the primary metric is from that of the complete ones."""
    groups, y_true, y_prob = pooled(runs)
    scores: dict[str, Any] = {}
    for metric in dict.fromkeys((primary, "wa", "ua")):
        values = [r.metrics[metric] for r in runs]
        ci95 = list(bootstrap_ci(groups, y_true, y_prob, metric))
        scores[metric] = {"mean": float(np.mean(values)), "std": float(np.std(values)), "ci95": ci95}
    _, _, prob_complete = pooled(complete)
    return scores | {"change": paired_bootstrap(groups, y_true, y_prob, prob_complete, primary)}


def subsets_figure(reports: Mapping[str, Mapping[str, Any]], metric: str, axis: str, title: str) -> Figure:
    """A panel a system, a row what was left of its modalities, a colour a report; the bars are 95 % intervals.

    Args:
        reports: Name of a way of training to its ``report.json`` with ``subsets``, all of the same systems.
        metric: Which one.
        axis: How it is called.
        title: Above the figure.
    """
    systems = next(iter(reports.values()))["subsets"]
    n_rows = max(len(subsets) for subsets in systems.values())
    height = 1.2 + n_rows * (0.16 + 0.14 * len(reports))
    figure = Figure(figsize=(1.6 + 2.1 * len(systems), height), layout="constrained")
    panels = figure.subplots(1, len(systems), squeeze=False, sharex=True)[0]
    for panel, name in zip(panels, systems, strict=True):
        _draw(panel, {key: report["subsets"][name] for key, report in reports.items()}, metric)
        panel.set_title(name, fontsize=10)
        if panel is not panels[0] and list(systems[name]) == list(next(iter(systems.values()))):
            panel.tick_params(labelleft=False)
    if len(reports) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower right", ncols=len(reports), fontsize=8, frameon=False)
    figure.supxlabel(axis, fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure


def _draw(ax: Axes, series: Mapping[str, Mapping[str, Any]], metric: str) -> None:
    names = list(next(iter(series.values())))
    for i, (key, subsets) in enumerate(series.items()):
        at = np.arange(len(names)) + 0.26 * (i - (len(series) - 1) / 2)
        means = np.array([100 * subsets[name][metric]["mean"] for name in names])
        low, high = (np.array([100 * subsets[name][metric]["ci95"][k] for name in names]) for k in (0, 1))
        ax.hlines(at, low, high, color=f"C{i}", linewidth=1.2, alpha=0.6)
        ax.plot(means, at, "os^D"[i % 4], color=f"C{i}", markersize=4.5, label=key)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.tick_params(labelsize=8, length=0)
    ax.grid(axis="x", color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
