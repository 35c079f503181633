"""Score a checkpoint on a corpus: on the test part of the fold it was trained for, or on all of another corpus."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emofuse.batching import labels_by_id, without
from emofuse.checkpoint import Checkpoint
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import ConfigError, DataError
from emofuse.labels import LabelSet, label_set
from emofuse.models import system
from emofuse.protocol.calibration import fit_temperature, tempered
from emofuse.protocol.context import with_context
from emofuse.protocol.examples import make_examples
from emofuse.protocol.fitted import feature_from_state
from emofuse.protocol.metrics import compute_metrics, confusion, recalls, reliability_diagram
from emofuse.protocol.pool import fit_reliability
from emofuse.protocol.presence import lacking, require_some
from emofuse.protocol.raw import read_raw
from emofuse.protocol.scoring import predict_probabilities
from emofuse.protocol.splits import Fold, group_of, labelled, make_folds, protocol
from emofuse.protocol.statistics import METRICS, bootstrap_ci


def _fold(provenance: Mapping[str, Any], corpus: Corpus) -> Fold:
    """The fold that a checkpoint was trained for."""
    recipe = provenance["recipe"]
    folds = make_folds(corpus, recipe["protocol"], recipe.get("labels"), provenance["seed"])
    fold = next((f for f in folds if f.name == provenance["fold"]), None)
    if fold is None:
        raise DataError(f"{corpus.name}: no fold {provenance['fold']!r}; has {[f.name for f in folds]}")
    return fold


def _test_part(checkpoint: Checkpoint, corpus: Corpus, everything: bool) -> tuple[list[Utterance], LabelSet, str]:
    """The utterances to score, their classes, and what is resampled for intervals."""
    recipe = checkpoint.provenance.get("recipe", {})
    if not {"corpus", "protocol"} <= set(recipe):
        raise ConfigError("the checkpoint does not say on what it was trained; it cannot be evaluated")
    if recipe["corpus"] == corpus.name and not everything:
        fold = _fold(checkpoint.provenance, corpus)
        ids = set(fold.test)
        return [u for u in corpus.utterances if u.id in ids], fold.classes, protocol(recipe["protocol"]).group
    classes = label_set(protocol(recipe["protocol"]).labels or recipe["labels"])
    if classes.classes != checkpoint.classes:
        raise ConfigError(
            f"classes {list(checkpoint.classes)} belong to one task of a protocol: evaluate on its corpus"
        )
    return labelled(corpus.utterances, classes), classes, "speaker"


def evaluate(
    checkpoint: Checkpoint,
    corpus: Corpus,
    device: torch.device,
    everything: bool = False,
    store: Path | None = None,
    removed: Collection[str] = (),
) -> dict[str, Any]:
    """Metrics of a checkpoint, see `summarise`.

    On the corpus it was trained on, the test part of its fold is scored; on any other corpus, or with
    `everything` (for another table under the same reader), every utterance whose label has a class.
    Extracted features are looked up in the feature store `store`, and added to it. A fused system is
    scored on what there is of its modalities; those that `removed` names are taken away.

    Raises:
        DataError: The corpus lacks what the checkpoint needs.
        ConfigError: The checkpoint's classes cannot be had from the corpus, or too much is removed.
    """
    refuse_removal(checkpoint, removed)
    utterances, classes, group = _test_part(checkpoint, corpus, everything)
    if not utterances:
        raise DataError(f"{corpus.name}: no utterance has one of the labels {', '.join(classes.classes)}")
    level = system(checkpoint.system).level
    context = checkpoint.provenance["recipe"].get("other_labels") == "context" and level == "conversation"
    seen = set(with_context([u.id for u in utterances], corpus.utterances)) if context else {u.id for u in utterances}
    inputs = [u for u in corpus.utterances if u.id in seen]
    by_id, ids = {u.id: u for u in inputs}, [u.id for u in utterances]
    features = {m: feature_from_state(meta, checkpoint.feature_arrays[m]) for m, meta in checkpoint.features.items()}
    lacks = {m: lacking(inputs, m, features[m].config.kind) for m in checkpoint.modalities}
    require_some(corpus.name, ids, {m: of for m, of in lacks.items() if m not in removed})
    arrays = {m: f.apply(read_raw(inputs, corpus, m, f.config, f.vectors, store)) for m, f in features.items()}
    examples = make_examples(
        ids,
        by_id,
        arrays,
        classes,
        level,
        absent={m: f.absent for m, f in features.items()},
        context=list(by_id),
        turns=getattr(checkpoint.model_config, "turns", False),
        fitted=features,
    )
    examples = without(examples, removed, level)
    model = checkpoint.model.to(device)
    found = predict_probabilities(model, examples, level, device, temperature=checkpoint.temperature)
    labels = labels_by_id(examples)
    scored = [by_id[i] for i in labels]
    report = summarise(scored, list(labels.values()), [found[i] for i in labels], group, classes.classes)
    report |= {"system": checkpoint.system, "corpus": corpus.name, "group": group}
    return report | ({"removed": sorted(removed)} if removed else {})


def refuse_removal(checkpoint: Checkpoint, removed: Collection[str]) -> None:
    """Raise ConfigError unless something is left, and all that is removed was there."""
    used = checkpoint.modalities
    if unknown := sorted(set(removed) - set(used)):
        raise ConfigError(f"{checkpoint.system} does not use {unknown[0]}; it uses {', '.join(used)}")
    if not set(used) - set(removed):
        raise ConfigError(f"{checkpoint.system} uses {', '.join(used)}: nothing would be left")


def unseen(provenances: Iterable[Mapping[str, Any]], corpus: Corpus) -> set[str]:
    """Ids of the utterances that no checkpoint of these provenances was trained on or selected by.

    Raises:
        ConfigError: A checkpoint was trained on several corpora of which this is one: which of its speakers
            were held out is known only of all of them together.
    """
    ids = {u.id for u in corpus.utterances}
    for provenance in provenances:
        recipe = provenance.get("recipe", {})
        name = recipe.get("corpus", "")
        if name == corpus.name:
            ids &= set(_fold(provenance, corpus).test)
        elif set(name.split("+")) & set(corpus.name.split("+")):
            raise ConfigError(f"{recipe['name']} was trained on {name}: name that corpus, so that it is left out")
    return ids


def summarise(
    utterances: Sequence[Utterance],
    y_true: Sequence[int],
    y_prob: Sequence[np.ndarray],
    group: str,
    classes: tuple[str, ...],
) -> dict[str, Any]:
    """Metrics with intervals, recalls, confusion and calibration; and ``by_corpus`` and ``by_sex``.

    ``temperature`` is the one by which the logits would have to be divided further to be likeliest here, and
    ``reliability`` is fitted after that: the two numbers of a part in ``fusion.json``.

    Args:
        utterances: The n that were scored.
        y_true: Their class indices.
        y_prob: Their probabilities, (n_classes,) each.
        group: What is resampled for the intervals, as in `group_of`.
        classes: Names.
    """
    labels, probabilities = np.array(y_true), np.stack(y_prob)
    groups = np.array([group_of(u, group) for u in utterances])

    def part(chosen: np.ndarray) -> dict[str, Any]:
        return _summary(labels[chosen], probabilities[chosen], groups[chosen].tolist(), classes)

    report = part(np.ones(len(labels), dtype=bool))
    for key, values in (("by_corpus", [u.corpus for u in utterances]), ("by_sex", [u.sex or "" for u in utterances])):
        names = sorted(set(values) - {""})
        if len(names) > 1:
            report[key] = {name: part(np.array(values) == name) for name in names}
    return report


def _summary(y_true: np.ndarray, y_prob: np.ndarray, groups: Sequence[str], classes: tuple[str, ...]) -> dict[str, Any]:
    values = compute_metrics(y_true, y_prob)
    several = len(set(groups)) > 1  # of a single speaker there is nothing to resample
    metrics = {
        m: {"value": values[m], "ci95": list(bootstrap_ci(groups, y_true, y_prob, m)) if several else None}
        for m in METRICS
    }
    y_pred = y_prob.argmax(1)
    temperature = fit_temperature(np.log(np.maximum(y_prob, 1e-12)), y_true)
    reliability = fit_reliability(tempered(y_prob, temperature), y_true)
    return {
        "n_utterances": len(y_true),
        "metrics": metrics,
        "recalls": dict(zip(classes, recalls(y_true, y_pred, len(classes)), strict=True)),
        "confusion": confusion(y_true, y_pred, len(classes)).tolist(),
        "calibration": reliability_diagram(y_true, y_prob),
        "temperature": temperature,
        "reliability": dict(zip(classes, reliability.tolist(), strict=True)),
    }
