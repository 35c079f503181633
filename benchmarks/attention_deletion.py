"""Whether attention shows what a decision rests on: what deleting the most attended changes, against the least.

If it does, deleting what is most attended lowers the probability of the decision more than deleting
at random, and that more than deleting what is least attended. Beside attention stand two other
orders: gradient x input (Simonyan et al. 2014) and leave one out, which measures the change itself.

Words of a text checkpoint of `cma-text`, on a corpus' dev split:

    python benchmarks/attention_deletion.py words src/emofuse/assets/default/text --data DATA/goemotions

Modalities of cLSTM-MMA, alone or within MMAN, trained by a recipe, on the test part; one utterance at a time:

    python benchmarks/attention_deletion.py modalities recipes/mman-mosi.toml --data DATA/mosi --seeds 5
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from emofuse.batching import IGNORE, Example, collate
from emofuse.checkpoint import load_checkpoint
from emofuse.corpora import load_corpus
from emofuse.labels import label_set
from emofuse.models.cma import CMA
from emofuse.models.mman import MMAN, MultiModalFusion
from emofuse.protocol.fitted import feature_from_state
from emofuse.protocol.recipe import load_recipe
from emofuse.protocol.run import FoldRun, Inputs
from emofuse.protocol.scoring import predict_probabilities
from emofuse.protocol.splits import labelled, make_folds

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Of the words that are deleted; at least one, never all."""

ORDERS = ("most attended", "least attended", "random", "gradient x input", "leave one out")
COLOURS = dict(zip(ORDERS, ("C3", "C0", "0.5", "C2", "k"), strict=True))


@dataclass
class Curves:
    """What deletion did to each item (an utterance): lists grow by one row an item.

    Attributes:
        steps: How much was deleted, for tables and the axis.
        before: Whether the undisturbed decision was right.
        fall: Order to the fall of the decision's probability, a value a step.
        right: Order to whether the decision is still right.
        agreement: Rank correlation of attention with leave one out within an item, where it is defined.
        groups: What is resampled: comments, or dialogues.
    """

    steps: list[str]
    before: list[bool] = field(default_factory=list)
    fall: dict[str, list[list[float]]] = field(default_factory=lambda: {o: [] for o in ORDERS})
    right: dict[str, list[list[bool]]] = field(default_factory=lambda: {o: [] for o in ORDERS})
    agreement: list[float] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


def mean_with_interval(values: np.ndarray, groups: Sequence[str]) -> tuple[float, float, float]:
    """Mean of (n,) and its 95 % percentile interval over 2000 draws of groups."""
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    sums, counts = np.bincount(index, values), np.bincount(index)
    draws = np.random.default_rng(0).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), 2000)
    low, high = np.quantile((draws @ sums) / (draws @ counts), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's; NaN where one of them is constant."""
    result: Any = spearmanr(a, b)  # SciPy's stubs do not know its fields
    return float(result.statistic)


# Words.


def word_probabilities(model: CMA, arrays: Sequence[np.ndarray], temperature: float) -> np.ndarray:
    """(n, n_classes) of word sequences (n_words, dim)."""
    examples = [Example((str(i),), np.zeros(1, int), {"text": a}) for i, a in enumerate(arrays)]
    found = predict_probabilities(model, examples, "utterance", torch.device("cpu"), 256, temperature)
    return np.stack([found[str(i)] for i in range(len(arrays))])


def word_scores(model: CMA, array: np.ndarray, decision: int) -> tuple[np.ndarray, np.ndarray]:
    """Attention that each word receives, and its gradient x input for the decision's logit: (n_words,) each."""
    batch = collate([Example(("",), np.zeros(1, int), {"text": array})], "utterance").inputs
    with torch.inference_mode():
        attention = model.attention_received(**batch)["text"][0].numpy()
    text = batch["text"].clone().requires_grad_()
    model(text=text, text_lengths=batch["text_lengths"])[0, decision].backward()
    assert text.grad is not None
    return attention, (text.grad * text.detach()).sum(-1)[0].numpy()


def study_words(checkpoint_folder: Path, data: Path, corpus_name: str, n: int, seed: int) -> Curves:
    """Delete words of `n` comments of the dev split, of four known words or more."""
    checkpoint = load_checkpoint(checkpoint_folder)
    model, temperature = checkpoint.model, checkpoint.temperature
    assert isinstance(model, CMA)
    fitted = feature_from_state(checkpoint.features["text"], checkpoint.feature_arrays["text"])
    assert fitted.vectors is not None
    classes = label_set(checkpoint.provenance["recipe"]["labels"])
    dev = [u for u in labelled(load_corpus(corpus_name, data).utterances, classes) if u.split == "dev"]
    rng = np.random.default_rng(seed)
    curves = Curves([f"{share:.0%}" for share in SHARES])
    chosen = [dev[i] for i in rng.permutation(len(dev))]
    texts = [(u, fitted.vectors.encode(u.text or "", fitted.config.max_words)) for u in chosen]
    texts = [(u, a) for u, a in texts if len(a) >= 4][:n]
    full = word_probabilities(model, [a for _, a in texts], temperature)
    singles = [np.delete(a, i, axis=0) for _, a in texts for i in range(len(a))]
    without_one = iter(word_probabilities(model, singles, temperature))
    deleted: list[np.ndarray] = []
    for (u, a), p in zip(texts, full, strict=True):
        decision = int(p.argmax())
        loo = np.array([p[decision] - next(without_one)[decision] for _ in a])
        attention, gradient = word_scores(model, a, decision)
        curves.agreement.append(rank_correlation(attention, loo))
        curves.before.append(decision == classes.class_index(u.label, u.original_label))
        curves.groups.append(u.id)
        for scores in (attention, -attention, rng.random(len(a)), gradient, loo):
            order = np.argsort(-scores)
            n_deleted = [min(max(1, round(share * len(a))), len(a) - 1) for share in SHARES]
            deleted += [np.delete(a, order[:k], axis=0) for k in n_deleted]
    after = iter(word_probabilities(model, deleted, temperature))
    for (u, _), p in zip(texts, full, strict=True):
        target = classes.class_index(u.label, u.original_label)
        for order in ORDERS:
            rows = [next(after) for _ in SHARES]
            curves.fall[order].append([float(p[p.argmax()] - row[p.argmax()]) for row in rows])
            curves.right[order].append([int(row.argmax()) == target for row in rows])
    return curves


# Modalities.


def present_without(n_utterances: int, missing: np.ndarray) -> torch.Tensor:
    """(n, n, n_modalities) for n copies of a dialogue: copy u lacks, in utterance u, what (n, n_modalities) says."""
    present = torch.ones(n_utterances, n_utterances, missing.shape[1], dtype=torch.bool)
    present[range(n_utterances), range(n_utterances)] = torch.from_numpy(~missing)
    return present


def modality_gradients(model: torch.nn.Module, inputs: dict[str, torch.Tensor], decisions: np.ndarray) -> np.ndarray:
    """Gradient x input of each utterance's own modalities for its decision's logit: (n_utterances, n_modalities)."""
    leaves = {m: x.clone().requires_grad_() for m, x in inputs.items() if m != "lengths"}
    logits = model(lengths=inputs["lengths"], **leaves)[0]
    rows = []
    for u, decision in enumerate(decisions):
        grads = torch.autograd.grad(logits[u, decision], list(leaves.values()), retain_graph=True)
        rows.append([float((g * x.detach())[0, u].sum()) for g, x in zip(grads, leaves.values(), strict=True)])
    return np.array(rows)


def add_dialogue(curves: Curves, model: torch.nn.Module, example: Example, rng: np.random.Generator) -> None:
    """Delete modalities of one utterance of a dialogue at a time, and read that utterance's decision."""
    model.eval()
    inputs = collate([example], "conversation").inputs
    features = {m: x for m, x in inputs.items() if m != "lengths"}
    n, n_modalities = len(example.ids), len(features)
    mma = model.parts["clstm-mma"] if isinstance(model, MMAN) else model
    assert isinstance(mma, MultiModalFusion)
    copies = {k: v.expand(n, *v.shape[1:]) for k, v in inputs.items()}

    def probabilities(missing: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits = model(**copies, present=present_without(n, missing))
        return logits[range(n), range(n)].softmax(-1).numpy()

    with torch.inference_mode():
        attention = torch.stack(list(mma.modality_weights(**features).values()), -1)[0].numpy()
    full = probabilities(np.zeros((n, n_modalities), bool))
    decisions = full.argmax(1)
    p = full[range(n), decisions]
    masks = np.eye(n_modalities, dtype=bool)
    loo = np.stack([p - probabilities(np.tile(m, (n, 1)))[range(n), decisions] for m in masks], axis=1)
    gradient = modality_gradients(model, inputs, decisions)
    kept = example.labels != IGNORE
    curves.before += (decisions == example.labels)[kept].tolist()
    curves.groups += [example.ids[0]] * int(kept.sum())
    if n_modalities > 2:
        curves.agreement += [rank_correlation(a, b) for a, b in zip(attention[kept], loo[kept], strict=True)]
    for order, scores in zip(ORDERS, (attention, -attention, rng.random(loo.shape), gradient, loo), strict=True):
        ranks = (-scores).argsort(1).argsort(1)
        after = [probabilities(ranks < k) for k in range(1, n_modalities)]
        curves.fall[order] += np.stack([p - q[range(n), decisions] for q in after], 1)[kept].tolist()
        curves.right[order] += np.stack([q.argmax(1) == example.labels for q in after], 1)[kept].tolist()


def study_modalities(recipe_file: Path, data: Path, name: str, seeds: int, assignments: Sequence[str]) -> Curves:
    """Train a system on every fold under every seed and delete modalities of its test utterances."""
    recipe = load_recipe(recipe_file, assignments)
    corpus = load_corpus(recipe.corpus, data)
    inputs = Inputs(recipe, corpus, corpus.utterances)
    curves = Curves([str(k) for k in range(1, len(recipe.features))])
    for seed in range(seeds):
        for fold in make_folds(corpus, recipe.protocol, recipe.labels, seed):
            run = FoldRun(inputs, fold, seed)
            model = run.train(name).model
            rng = np.random.default_rng(seed)
            for example in run.examples(name, fold.test):
                add_dialogue(curves, model, example, rng)
    return curves


# Report.


def report(curves: Curves) -> dict[str, list[list[float]]]:
    """Print the table and give the curves: order to one [mean, low, high] a step."""
    before = np.array(curves.before)
    print(f"{len(before)} utterances, {100 * before.mean():.1f} % right; {', '.join(curves.steps)} deleted")
    means = {}
    for order in ORDERS:
        fall, right = 100 * np.array(curves.fall[order]), 100 * np.array(curves.right[order])
        means[order] = [list(mean_with_interval(fall[:, k], curves.groups)) for k in range(fall.shape[1])]
        cells = [f"{m:5.1f} [{a:5.1f}, {b:5.1f}] / {r:.1f}" for (m, a, b), r in zip(means[order], right.mean(0))]  # noqa: B905
        print(f"{order:18s} {'  '.join(cells)}")
    print("fall of the decision's probability, points [95 %] / accuracy after it\n")
    for a, b in (("most attended", "least attended"), ("most attended", "random"), ("leave one out", "most attended")):
        difference = 100 * (np.array(curves.fall[a]) - np.array(curves.fall[b]))[:, 0]
        mean, low, high = mean_with_interval(difference, curves.groups)
        print(f"{a} - {b}, first step: {mean:.1f} points [{low:.1f}, {high:.1f}]")
    defined = np.array([not np.isnan(r) for r in curves.agreement], bool)
    if defined.any():
        values, groups = np.array(curves.agreement)[defined], np.array(curves.groups)[defined].tolist()
        mean, low, high = mean_with_interval(values, groups)
        print(f"rank correlation of attention and leave one out: {mean:.2f} [{low:.2f}, {high:.2f}]")
    return means


def draw(curves: Curves, means: dict[str, list[list[float]]], unit: str, path: Path) -> None:
    """Deletion curves with their intervals."""
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for order in ORDERS:
        mean, low, high = np.array(means[order]).T
        left.plot(curves.steps, mean, "o-", color=COLOURS[order], label=order, markersize=3, linewidth=1.2)
        left.fill_between(curves.steps, low, high, color=COLOURS[order], alpha=0.15, linewidth=0)
        accuracy = 100 * np.array(curves.right[order]).mean(0)
        right.plot(curves.steps, accuracy, "o-", color=COLOURS[order], markersize=3, linewidth=1.2)
    right.axhline(100 * float(np.mean(curves.before)), color="0.7", linewidth=0.8, linestyle="--")
    left.set_ylabel("fall of the decision's probability, points")
    right.set_ylabel("accuracy, % (dashed: nothing deleted)")
    for ax in (left, right):
        ax.set_xlabel(f"{unit} deleted")
        ax.grid(color="0.9", linewidth=0.7)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(ORDERS), fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Print a table; with --plot draw it, with --json keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("words", "modalities"))
    parser.add_argument("source", type=Path, help="checkpoint (words) or recipe (modalities)")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--corpus", default="goemotions", help="words: its reader")
    parser.add_argument("--n", type=int, default=1000, help="words: comments")
    parser.add_argument("--system", default="clstm-mma", help="modalities: or mman")
    parser.add_argument("--seeds", type=int, default=1, help="modalities: trainings; words: the seed of the draw")
    parser.add_argument("--set", action="append", default=[], help="modalities: change a recipe's value")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)  # two OpenMP threads stall while another process uses a core
    if options.what == "words":
        curves = study_words(options.source, options.data, options.corpus, options.n, options.seeds)
    else:
        curves = study_modalities(options.source, options.data, options.system, options.seeds, options.set)
    means = report(curves)
    if options.plot:
        draw(curves, means, options.what, options.plot)
    if options.json:
        options.json.write_text(json.dumps({"steps": curves.steps, "fall": means}, indent=1))


if __name__ == "__main__":
    main()
