"""Score a checkpoint on a corpus: on the test part of the fold it was trained for, or on all of another corpus."""

from collections.abc import Collection, Sequence
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
from emofuse.protocol.inputs import feature_from_state, make_examples, read_raw
from emofuse.protocol.metrics import compute_metrics, confusion, recalls
from emofuse.protocol.presence import lacking, require_some
from emofuse.protocol.splits import group_of, labelled, make_folds, protocol
from emofuse.protocol.statistics import METRICS, bootstrap_ci
from emofuse.protocol.train import predict_probabilities


def _test_part(checkpoint: Checkpoint, corpus: Corpus, everything: bool) -> tuple[list[Utterance], LabelSet, str]:
    """The utterances to score, their classes, and what is resampled for intervals."""
    recipe = checkpoint.provenance.get("recipe", {})
    if not {"corpus", "protocol"} <= set(recipe):
        raise ConfigError("the checkpoint does not say on what it was trained; it cannot be evaluated")
    if recipe["corpus"] == corpus.name and not everything:
        folds = make_folds(corpus, recipe["protocol"], recipe.get("labels"), checkpoint.provenance["seed"])
        fold = next((f for f in folds if f.name == checkpoint.provenance["fold"]), None)
        if fold is None:
            raise DataError(f"{corpus.name}: no fold {checkpoint.provenance['fold']!r}; has {[f.name for f in folds]}")
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
    """Metrics with intervals, recalls and confusion; of several corpora also one by one, as ``by_corpus``.

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
    by_id = {u.id: u for u in utterances}
    features = {m: feature_from_state(meta, checkpoint.feature_arrays[m]) for m, meta in checkpoint.features.items()}
    lacks = {m: lacking(utterances, m, features[m].config.kind) for m in checkpoint.modalities}
    require_some(corpus.name, list(by_id), {m: of for m, of in lacks.items() if m not in removed})
    arrays = {m: f.apply(read_raw(utterances, corpus, m, f.config, f.vectors, store)) for m, f in features.items()}
    examples = make_examples(list(by_id), by_id, arrays, classes, level, {m: f.absent for m, f in features.items()})
    examples = without(examples, removed, level)
    model = checkpoint.model.to(device)
    found = predict_probabilities(model, examples, level, device, temperature=checkpoint.temperature)
    labels = labels_by_id(examples)

    def summary(ids: Sequence[str]) -> dict[str, Any]:
        y_true, y_prob = np.array([labels[i] for i in ids]), np.stack([found[i] for i in ids])
        return _summary(y_true, y_prob, [group_of(by_id[i], group) for i in ids], classes.classes)

    report = summary(list(labels)) | {"system": checkpoint.system, "corpus": corpus.name, "group": group}
    if removed:
        report["removed"] = sorted(removed)
    members = sorted({by_id[i].corpus for i in labels})
    if len(members) > 1:
        report["by_corpus"] = {name: summary([i for i in labels if by_id[i].corpus == name]) for name in members}
    return report


def refuse_removal(checkpoint: Checkpoint, removed: Collection[str]) -> None:
    """Raise ConfigError unless something is left, and all that is removed was there."""
    used = checkpoint.modalities
    if unknown := sorted(set(removed) - set(used)):
        raise ConfigError(f"{checkpoint.system} does not use {unknown[0]}; it uses {', '.join(used)}")
    if not set(used) - set(removed):
        raise ConfigError(f"{checkpoint.system} uses {', '.join(used)}: nothing would be left")


def _summary(y_true: np.ndarray, y_prob: np.ndarray, groups: Sequence[str], classes: tuple[str, ...]) -> dict[str, Any]:
    values = compute_metrics(y_true, y_prob)
    several = len(set(groups)) > 1  # of a single speaker there is nothing to resample
    metrics = {
        m: {"value": values[m], "ci95": list(bootstrap_ci(groups, y_true, y_prob, m)) if several else None}
        for m in METRICS
    }
    y_pred = y_prob.argmax(1)
    return {
        "n_utterances": len(y_true),
        "metrics": metrics,
        "recalls": dict(zip(classes, recalls(y_true, y_pred, len(classes)), strict=True)),
        "confusion": confusion(y_true, y_pred, len(classes)).tolist(),
    }
