"""Runs in numbers: scores with their intervals, confusions, and paired tests of systems."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.protocol.benchmark import Plan
from emofuse.protocol.ensemble import average_seeds
from emofuse.protocol.metrics import confusion, recalls
from emofuse.protocol.record import RunResult
from emofuse.protocol.statistics import METRICS, bootstrap_ci, holm, mcnemar, paired_bootstrap, wilcoxon_runs


def pooled(runs: Sequence[RunResult]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Groups, labels and probabilities of all runs, one below the other in a fixed order of utterances.

    Where the whole test part is one speaker or dialogue, there is none to resample: utterances are the groups.
    """
    ordered = sorted(runs, key=lambda r: (r.seed, r.fold))
    rows = [sorted(range(len(r.ids)), key=r.ids.__getitem__) for r in ordered]
    single = len({group for r in ordered for group in r.groups}) == 1
    groups = [(r.ids if single else r.groups)[i] for r, order in zip(ordered, rows, strict=True) for i in order]
    y_true = np.concatenate([r.y_true[order] for r, order in zip(ordered, rows, strict=True)])
    y_prob = np.concatenate([r.y_prob[order] for r, order in zip(ordered, rows, strict=True)])
    return groups, y_true, y_prob


def summarise_system(runs: Sequence[RunResult]) -> dict[str, Any]:
    """Mean and deviation over runs, interval over speakers or dialogues, confusion summed over runs."""
    groups, y_true, y_prob = pooled(runs)
    metrics = {}
    for metric in METRICS:
        values = [r.metrics[metric] for r in runs]
        metrics[metric] = {
            "mean": float(np.mean(values)),
            "std": float(np.std(values)),
            "ci95": list(bootstrap_ci(groups, y_true, y_prob, metric)),
        }
    n_classes = y_prob.shape[1]
    return {
        "n_parameters": runs[0].n_parameters,
        "seconds": float(sum(r.seconds for r in runs)),
        "cpu_seconds": float(sum(r.cpu_seconds for r in runs)) if all(r.cpu_seconds for r in runs) else 0.0,
        "metrics": metrics,
        "runs": [
            {"seed": r.seed, "fold": r.fold, "best_epoch": r.best_epoch, "n_test": len(r.ids), **r.metrics}
            for r in runs
        ],
        # Folds that are tasks of their own (one emotion against the rest) have only "rest" in common.
        "classes": [
            names[0] if len(set(names)) == 1 else "the fold's emotion"
            for names in zip(*(r.classes for r in runs), strict=True)
        ],
        "recalls": recalls(y_true, y_prob.argmax(1), n_classes),
        "confusion": confusion(y_true, y_prob.argmax(1), n_classes).tolist(),
    }


def compare(a: Sequence[RunResult], b: Sequence[RunResult], metric: str) -> dict[str, Any]:
    """Paired tests of two systems that were tested on the same utterances under the same folds and seeds."""
    groups, y_true, prob_a = pooled(a)
    _, _, prob_b = pooled(b)
    first_seed = min(r.seed for r in a)
    _, y_once, once_a = pooled([r for r in a if r.seed == first_seed])
    _, _, once_b = pooled([r for r in b if r.seed == first_seed])
    key = {(r.seed, r.fold): r.metrics[metric] for r in b}
    return {
        "a": a[0].system,
        "b": b[0].system,
        "metric": metric,
        **paired_bootstrap(groups, y_true, prob_a, prob_b, metric),
        "mcnemar_p": mcnemar(y_once, once_a.argmax(1), once_b.argmax(1)),
        "wilcoxon_p": wilcoxon_runs([r.metrics[metric] for r in a], [key[r.seed, r.fold] for r in a]),
    }


def summarise(plan: Plan, results: Sequence[RunResult]) -> dict[str, Any]:
    """The content of ``report.json``."""
    by_system = {name: [r for r in results if r.system == name] for name in plan.recipe.systems}
    names = list(by_system)
    metric = plan.recipe.primary_metric
    pairs = [(a, b) for i, b in enumerate(names) for a in names[i + 1 :]]
    comparisons = [compare(by_system[a], by_system[b], metric) for a, b in pairs]
    corrected = holm([c["p_value"] for c in comparisons])
    return {
        "recipe": plan.recipe.name,
        "protocol": plan.recipe.protocol,
        "primary_metric": metric,
        "selection": plan.selection,
        "seeds": list(plan.seeds),
        "systems": {name: summarise_system(runs) for name, runs in by_system.items()},
        "averaged": {name: summarise_system(average_seeds(runs))["metrics"] for name, runs in by_system.items()}
        if len(plan.seeds) > 1
        else {},
        "comparisons": [c | {"p_holm": p} for c, p in zip(comparisons, corrected, strict=True)],
        "published": plan.recipe.published,
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write to a temporary name, then rename."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1))
    partial.replace(path)
