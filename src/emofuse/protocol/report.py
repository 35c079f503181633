"""A benchmark's result as files: tables to read, figures, and every prediction."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from emofuse.protocol.cost import cost_figure
from emofuse.protocol.figures import confusion_figure, curves_figure
from emofuse.protocol.metrics import METRIC_NAMES, compute_metrics, confusion
from emofuse.protocol.recipe import Recipe
from emofuse.protocol.record import RunResult
from emofuse.protocol.splits import protocol
from emofuse.protocol.subsets import subsets_figure
from emofuse.protocol.summary import write_json

_MAJORITY = "*always the most frequent class*"


def write_report(out: Path, report: dict[str, Any], results: Sequence[RunResult], recipe: Recipe) -> None:
    """Write a benchmark's result into `out`; each file appears whole or not at all.

    The files are ``report.json``, ``report.md``, ``predictions.parquet``, of every system
    ``confusion-<system>.png`` and ``curves-<system>.png``; of more than two systems ``cost.png``; and
    ``subsets.png`` where modalities were removed.

    Args:
        out: Folder; made if missing.
        report: What `benchmark.summarise` gives.
        results: The runs it was made of.
        recipe: Their recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in report["systems"]:
        runs = [r for r in results if r.system == name]
        _save(out / f"confusion-{name}.png", confusion_figure(runs, _title(report, name)))
        window = recipe.training_config(name).average_epochs
        curves = curves_figure(runs, report["primary_metric"], report["selection"], _title(report, name), window)
        _save(out / f"curves-{name}.png", curves)
    if len(report["systems"]) > 2:
        ylabel = f"{METRIC_NAMES[report['primary_metric']]}, %{_selected(report)}"
        _save(out / "cost.png", cost_figure(report, ylabel, f"{report['recipe']}, {report['protocol']}"))
    if report.get("subsets"):
        metric = report["primary_metric"]
        axis, title = f"{METRIC_NAMES[metric]}{_selected(report)}, %", f"modalities left, {report['protocol']}"
        _save(out / "subsets.png", subsets_figure({"": report}, metric, axis, title))
    table = predictions_table(results)
    _write(out / "predictions.parquet", lambda path: pq.write_table(table, path))
    _write(out / "report.md", lambda path: path.write_text(markdown(report, results, recipe), encoding="utf-8"))
    write_json(out / "report.json", report)


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Write to a temporary name, then rename."""
    partial = path.with_name(f"{path.name}.partial")
    write(partial)
    partial.replace(path)


def _save(path: Path, figure: Figure) -> None:
    _write(path, lambda partial: figure.savefig(partial, format="png", dpi=120))


def _selected(report: dict[str, Any]) -> str:
    """What a title and a column say about the selection: nothing where it is the honest one."""
    return "" if report["selection"] == "dev" else f" (selected on {report['selection']})"


def _title(report: dict[str, Any], name: str) -> str:
    return f"{name}, {report['protocol']}{_selected(report)}"


def predictions_table(results: Sequence[RunResult]) -> pa.Table:
    """One row a prediction; ``p_<class>`` is null in rows of a fold that does not have the class."""
    classes = list(dict.fromkeys(c for r in results for c in r.classes))
    names = ("system", "fold", "seed", "id", "group", "label", "predicted")
    types = {name: pa.int64() if name == "seed" else pa.string() for name in names}
    types |= {f"p_{c}": pa.float32() for c in classes}
    schema = pa.schema(list(types.items()))
    tables = []
    for r in results:
        n = len(r.ids)
        columns: dict[str, Any] = {"system": [r.system] * n, "fold": [r.fold] * n, "seed": [r.seed] * n}
        columns |= {"id": r.ids, "group": r.groups, "label": [r.classes[y] for y in r.y_true]}
        columns["predicted"] = [r.classes[y] for y in r.y_prob.argmax(axis=1)]
        for c in classes:
            columns[f"p_{c}"] = r.y_prob[:, r.classes.index(c)].astype(np.float32) if c in r.classes else [None] * n
        tables.append(pa.table(columns, schema=schema))
    return pa.concat_tables(tables)


def markdown(report: dict[str, Any], results: Sequence[RunResult], recipe: Recipe) -> str:
    """The content of ``report.md``."""
    sections = [_head(report, recipe), _systems_section(report, results)]
    if len({r.fold for r in results}) > 1:
        sections.append(_folds_section(report, results))
    if report["averaged"]:
        sections.append(_averaged_section(report))
    if report["comparisons"]:
        sections.append(_comparisons_section(report))
    if report.get("subsets"):
        sections.append(_subsets_section(report))
    sections.append(_method_section(report, results))
    rows = [[n, f"[confusion](confusion-{n}.png)", f"[curves](curves-{n}.png)"] for n in report["systems"]]
    sections.append("## Figures\n\n" + _table(["system", "confusion matrix", "training"], rows))
    if len(report["systems"]) > 2:
        sections.append("[Scores against parameters and training time](cost.png)")
    return "\n\n".join(sections) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def _percent(values: Sequence[float], ci95: Sequence[float] | None = None) -> str:
    """``mean ± deviation [low, high]`` in per cent; no deviation of a single value."""
    text = f"{100 * np.mean(values):.2f}" + (f" ± {100 * np.std(values):.2f}" if len(values) > 1 else "")
    return text if ci95 is None else f"{text} [{100 * ci95[0]:.2f}, {100 * ci95[1]:.2f}]"


def _p_value(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _majority(run: RunResult) -> np.ndarray:
    """Probabilities (n, n_classes) of always answering the class that is most frequent in the test part."""
    probabilities = np.zeros_like(run.y_prob)
    probabilities[:, np.bincount(run.y_true).argmax()] = 1
    return probabilities


def _emotion_f1(y_true: np.ndarray, y_prob: np.ndarray) -> float:
    """F1 of class 1, the emotion, against class 0, the rest."""
    counts = confusion(y_true, y_prob.argmax(axis=1), 2)
    return float(2 * counts[1, 1] / max(counts[1].sum() + counts[:, 1].sum(), 1))


def _head(report: dict[str, Any], recipe: Recipe) -> str:
    chosen = protocol(report["protocol"])
    select = {
        "dev": "dev (the test part was read once, after training)",
        "test": "**test**: the epoch that scored best on the test part, so the scores are optimistic",
    }
    facts = {
        "Paper": recipe.paper,
        "Command": f"`{recipe.command}`",
        "Expected": recipe.expected,
        "Protocol": f"`{chosen.id}`: {chosen.description}; primary metric {METRIC_NAMES[chosen.metric]}",
        "Selection": select[report["selection"]],
        "Seeds": ", ".join(str(seed) for seed in report["seeds"]),
    }
    lines = "\n".join(f"* {key}: {value}" for key, value in facts.items())
    return f"# {report['recipe']}, {report['protocol']}{_selected(report)}\n\n{lines}"


def _systems_section(report: dict[str, Any], results: Sequence[RunResult]) -> str:
    primary, published = report["primary_metric"], report["published"]
    others = [m for m in METRIC_NAMES if m != primary]
    header = ["system", "parameters", f"{METRIC_NAMES[primary]} %{_selected(report)}"]
    header += [f"{METRIC_NAMES[m]} %" for m in others] + ["CPU seconds", "seconds"] + ["published"] * bool(published)
    rows = []
    for name, entry in report["systems"].items():
        runs = [r.metrics for r in results if r.system == name]
        row = [name, f"{entry['n_parameters']:,}"]
        row.append(_percent([m[primary] for m in runs], entry["metrics"][primary]["ci95"]))
        row += [_percent([m[other] for m in runs]) for other in others]
        row += [f"{entry['cpu_seconds']:.0f}" if entry["cpu_seconds"] else "–", f"{entry['seconds']:.0f}"]
        rows.append(row + ([f"{100 * published[name]:.2f}" if name in published else "–"] if published else []))
    first = next(iter(report["systems"]))
    majority = [compute_metrics(r.y_true, _majority(r)) for r in results if r.system == first]
    row = [_MAJORITY, "–"]
    row += ["–" if m == "ece" else f"{100 * np.mean([v[m] for v in majority]):.2f}" for m in (primary, *others)]
    rows.append(row + ["–"] * (len(header) - len(row)))
    return "## Systems\n\n" + _table(header, rows)


def _folds_section(report: dict[str, Any], results: Sequence[RunResult]) -> str:
    """A column a fold; where folds are tasks of one emotion against the rest, UA and the emotion's F1 too."""
    metric = report["primary_metric"]
    folds = list(dict.fromkeys(r.fold for r in results))
    scores: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        METRIC_NAMES[metric]: lambda y_true, y_prob: compute_metrics(y_true, y_prob)[metric]
    }
    tasks = len({r.classes for r in results}) > 1 and all(len(r.classes) == 2 for r in results)
    if tasks:
        scores["UA"] = lambda y_true, y_prob: compute_metrics(y_true, y_prob)["ua"]
        scores["F1 of the emotion"] = _emotion_f1
    rows = []
    for score, value in scores.items():
        for name in report["systems"]:
            runs = [[r for r in results if r.system == name and r.fold == fold] for fold in folds]
            rows.append([name, score, *(_percent([value(r.y_true, r.y_prob) for r in cell]) for cell in runs)])
        one_each = [next(r for r in results if r.fold == fold) for fold in folds]
        rows.append([_MAJORITY, score, *(_percent([value(r.y_true, _majority(r))]) for r in one_each)])
    n_seeds = len(report["seeds"])
    note = f"Per cent, mean ± standard deviation over {n_seeds} seeds." if n_seeds > 1 else "Per cent."
    return f"## Folds\n\n{note}\n\n" + _table(["system", f"metric{_selected(report)}", *folds], rows)


def _averaged_section(report: dict[str, Any]) -> str:
    """What the mean of the seeds' probabilities scores: one system of as many networks."""
    n_seeds, primary = len(report["seeds"]), report["primary_metric"]
    metrics = [primary, *(m for m in METRIC_NAMES if m != primary)]
    rows = [
        [f"{name} ({n_seeds} seeds averaged)", *(_percent([e[m]["mean"]], e[m]["ci95"]) for m in metrics)]
        for name, e in report["averaged"].items()
    ]
    header = ["system", *(f"{METRIC_NAMES[m]} %{_selected(report)}" for m in metrics)]
    note = "Class probabilities averaged over the seeds, then scored; the mean is over folds."
    return f"## Seeds averaged\n\n{note}\n\n" + _table(header, rows)


def _comparisons_section(report: dict[str, Any]) -> str:
    rows = []
    for c in report["comparisons"]:
        low, high = c["ci95"]
        difference = f"{100 * c['difference']:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"
        ps = [_p_value(c[key]) for key in ("p_value", "p_holm", "mcnemar_p", "wilcoxon_p")]
        rows.append([f"{c['a']} − {c['b']}", difference, *ps])
    metric = METRIC_NAMES[report["primary_metric"]]
    header = [
        "systems",
        f"{metric} difference, points{_selected(report)}",
        "p bootstrap",
        "p Holm",
        "p McNemar",
        "p Wilcoxon",
    ]
    return "## Paired comparisons\n\n" + _table(header, rows)


def _subsets_section(report: dict[str, Any]) -> str:
    """The scores of one training when modalities are removed from the test part, and the change that makes."""
    primary = report["primary_metric"]
    metrics = list(dict.fromkeys((primary, "wa", "ua")))
    rows = []
    for name, subsets in report["subsets"].items():
        for kept, entry in subsets.items():
            scores = [f"{100 * e['mean']:.2f} ± {100 * e['std']:.2f}" for e in (entry[m] for m in metrics)]
            low, high = entry[primary]["ci95"]
            scores[0] += f" [{100 * low:.2f}, {100 * high:.2f}]"
            change = entry["change"]
            low, high = change["ci95"]
            moved = f"{100 * change['difference']:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"
            rows.append([name, kept, *scores, "–" if change["difference"] == low == high == 0 else moved])
    header = ["system", "what is left", *(f"{METRIC_NAMES[m]} %{_selected(report)}" for m in metrics), "change, points"]
    note = "One training, tested with modalities removed from every utterance. ![modalities left](subsets.png)"
    return f"## When modalities are removed\n\n{note}\n\n" + _table(header, rows)


def _method_section(report: dict[str, Any], results: Sequence[RunResult]) -> str:
    group = protocol(report["protocol"]).group
    n_groups, n_runs = len({g for r in results for g in r.groups}), len({(r.fold, r.seed) for r in results})
    notes = [
        f"± is the standard deviation over runs ({n_runs}: folds times seeds); the mean is over runs too.",
        f"[low, high] is the 95 % percentile interval of a bootstrap that draws {group}s with replacement "
        f"({n_groups} of them), all predictions of a {group} together, the predictions of all runs pooled. It is about "
        "the pooled score, which need not equal the mean over runs, and does not cover the choice of seeds; ± does.",
        "Seconds: training, summed over runs; with its parts for a staged system, whose curves show the last stage. "
        "CPU seconds are the processor's, which other programs on the machine do not lengthen.",
        f"{_MAJORITY}: of the test part, for reference.",
    ]
    if report["comparisons"]:
        notes.append(
            f"p bootstrap: the same draws of {group}s for both systems; p Holm: the same, corrected for the "
            f"{len(report['comparisons'])} comparisons of the table, which the others are not. p McNemar: exact, over "
            "the utterances under the first seed, taken as independent. p Wilcoxon: signed ranks over runs, from five "
            "pairs on."
        )
    return "## How the numbers are made\n\n" + "\n".join(f"* {note}" for note in notes)
