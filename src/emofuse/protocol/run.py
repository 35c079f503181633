"""One fold under one seed: fit the features, train every system, test it once, and leave a record on disk."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from emofuse.batching import IGNORE, Example, labels_by_id, without
from emofuse.checkpoint import Checkpoint
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import ConfigError, DataError
from emofuse.features.wordpieces import WordPieces
from emofuse.labels import label_set
from emofuse.models import n_parameters, system
from emofuse.models.linear import LinearConfig
from emofuse.models.mlp import MLP, MLPConfig
from emofuse.models.mman import MODALITIES
from emofuse.protocol.augmentation import Augmenter, waveform_config
from emofuse.protocol.calibration import fit_temperature
from emofuse.protocol.context import refuse_shared_dialogues, with_context
from emofuse.protocol.examples import make_examples
from emofuse.protocol.feature import FeatureConfig
from emofuse.protocol.fitted import FittedFeature, feature_state
from emofuse.protocol.fitting import fit_feature
from emofuse.protocol.presence import require_some
from emofuse.protocol.raw import RawInput, load_raw
from emofuse.protocol.recipe import Recipe
from emofuse.protocol.record import RunResult
from emofuse.protocol.scoring import predict_probabilities
from emofuse.protocol.settings import TrainingConfig
from emofuse.protocol.splits import Fold, group_of, labelled, protocol
from emofuse.protocol.stages import TrainedSystem, train_system

SELECTIONS = ("dev", "test")


def choose_device(name: str) -> torch.device:
    """``auto``: a GPU where there is one; else any name that torch knows.

    Raises:
        ConfigError: torch does not know the device, or it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r}: {str(error).splitlines()[0]}") from None
    return device


class Inputs:
    """Raw inputs of a corpus, read once and shared by folds and seeds."""

    def __init__(
        self,
        recipe: Recipe,
        corpus: Corpus,
        utterances: Sequence[Utterance],
        store: Path | None = None,
        audio: Path | None = None,
    ) -> None:
        """`utterances` are those that some fold uses, context too; `store` and `audio` as `load_raw` has them."""
        self.recipe, self.corpus, self.utterances, self.store, self.audio = recipe, corpus, utterances, store, audio
        self.by_id = {u.id: u for u in utterances}
        self._raw: dict[tuple[str, FeatureConfig], RawInput] = {}

    def raw(self, modality: str, config: FeatureConfig) -> RawInput:
        """The raw input of a modality, computed at its first use."""
        key = (modality, config)
        if key not in self._raw:
            self._raw[key] = load_raw(self.utterances, self.corpus, modality, config, self.store, self.audio)
        return self._raw[key]


def _without_auxiliary(model: nn.Module) -> nn.Module:
    """A trained network that predicts the fold's classes alone."""
    return model.without_auxiliary() if isinstance(model, MLP) else model


class FoldRun:
    """A fold under a seed: features fitted on its training part, examples, trained systems.

    Attributes:
        classes: What is learnt: the fold's, with `Recipe.training_labels` the auxiliary ones behind them.
        train_ids: Labelled utterances of the training part; features are fitted on them.
        taught_ids: What networks are trained on: these, and with ``other_labels = "votes"`` what has votes alone.
        select_ids: What chooses the epoch.
    """

    def __init__(
        self, inputs: Inputs, fold: Fold, seed: int, selection: str = "dev", device: torch.device | None = None
    ) -> None:
        """With `selection` ``test``, dev joins train and the test part chooses the epoch, as some papers did."""
        if selection not in SELECTIONS:
            raise ConfigError(f"selection {selection!r}; known: {', '.join(SELECTIONS)}")
        self.inputs, self.fold, self.seed, self.selection = inputs, fold, seed, selection
        self.device = device or torch.device("cpu")
        self.recipe = inputs.recipe
        learnt = self.recipe.training_labels
        self.classes = fold.classes if learnt is None else label_set(learnt)
        self.train_ids = self._with_auxiliary(fold.train if selection == "dev" else fold.train + fold.dev)
        self.select_ids = fold.dev if selection == "dev" else fold.test
        self.taught_ids = self.train_ids + (fold.voted if self.recipe.other_labels == "votes" else ())
        if self.recipe.other_labels == "votes" and not fold.voted:
            raise DataError(
                f'{inputs.corpus.name}: other_labels = "votes", but all training utterances with votes have a label'
            )
        self.metric = self.recipe.primary_metric
        self.trained: dict[str, TrainedSystem] = {}
        self.refitted: dict[str, TrainedSystem] = {}
        self._fitted: dict[tuple[str, FeatureConfig], FittedFeature] = {}
        if self.recipe.other_labels == "context":
            refuse_shared_dialogues(fold, inputs.by_id)

    def _with_auxiliary(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        """`ids`, and what the same speakers or dialogues have of the auxiliary classes."""
        if self.recipe.training_labels is None:
            return ids
        group, known = protocol(self.recipe.protocol).group, {*self.fold.train, *self.fold.dev, *self.fold.test}
        groups = {group_of(self.inputs.by_id[i], group) for i in ids}
        more = [u for u in labelled(self.inputs.utterances, self.classes) if u.id not in known]
        return ids + tuple(u.id for u in more if group_of(u, group) in groups)

    def fitted(self, modality: str, config: FeatureConfig) -> FittedFeature:
        """A modality's transform, fitted on the training part at its first use."""
        key = (modality, config)
        if key not in self._fitted:
            raw = self.inputs.raw(modality, config)
            by_id = self.inputs.by_id
            train = {i: raw.arrays[i] for i in self.train_ids if i in raw.arrays}
            if not train:
                raise DataError(
                    f"{self.inputs.corpus.name}: nothing in the training part of {self.fold.name} has {modality}"
                )
            chosen = {i: self.classes.class_index(by_id[i].label, by_id[i].original_label) for i in raw.arrays}
            self._fitted[key] = fit_feature(
                config,
                train,
                {i: raw.arrays[i] for i in self.select_ids if i in raw.arrays},
                {i: IGNORE if y is None else y for i, y in chosen.items()},
                vectors=raw.vectors,
                n_classes=len(self.fold.classes.classes),
                metric=self.metric,
                seed=self.seed,
                device=self.device,
            )
        return self._fitted[key]

    def features(self, name: str) -> dict[str, FittedFeature]:
        """Fitted features of a system, in the papers' order of modalities."""
        configs = self.recipe.feature_configs(name)
        return {m: self.fitted(m, configs[m]) for m in MODALITIES if m in configs}

    def examples(self, name: str, ids: Sequence[str]) -> list[Example]:
        """Examples of a system for one part of the fold.

        Raises:
            DataError: An utterance has none of the system's modalities.
        """
        level, features = system(name).level, self.features(name)
        context = self.recipe.other_labels == "context" and level == "conversation"
        seen = with_context(ids, self.inputs.utterances) if context else ids
        raw = {m: self.inputs.raw(m, f.config) for m, f in features.items()}
        used = self.recipe.modalities(name)
        require_some(self.inputs.corpus.name, ids, {m: raw[m].lacks for m in used})
        return make_examples(
            ids,
            self.inputs.by_id,
            {m: f.apply({i: raw[m].arrays[i] for i in seen if i in raw[m].arrays}) for m, f in features.items()},
            self.classes,
            level,
            absent={m: f.absent for m, f in features.items()},
            context=seen,
            turns=self.recipe.knows_turns(name),
            fitted=features,
        )

    def augmenter(self, name: str, ids: Sequence[str]) -> Augmenter | None:
        """What a system's training clips pass through before an epoch; None where the recipe asks for nothing."""
        settings = self.recipe.training_config(name)
        if (
            not (settings.augment or settings.shorten) or system(name).config is LinearConfig
        ):  # fitted once, to the clips as they are
            return None
        feature = self.features(name)["speech"]
        raw = self.inputs.raw("speech", waveform_config(feature.config))
        return Augmenter({i: raw.arrays[i] for i in ids}, feature, settings.augment, settings.crop_s, settings.shorten)

    def training_sizes(self, name: str) -> Any:
        """Model configuration of a system while it is trained."""
        dims = {m: f.dim for m, f in self.features(name).items()}
        sizes = self.recipe.sizes(name, len(self.fold.classes.classes), dims)
        if isinstance(sizes, MLPConfig):
            return replace(sizes, n_auxiliary=len(self.classes.classes) - sizes.n_classes)
        return sizes

    def train(
        self,
        name: str,
        state_dir: Path | None = None,
        on_epoch: Callable[[str, dict[str, float]], None] | None = None,
    ) -> TrainedSystem:
        """Train a system on this fold; with `TrainingConfig.refit` once more, on train and dev together."""
        features = self.features(name)
        sizes = self.training_sizes(name)
        vocabulary = features["text"].vectors if "text" in features else None
        start_from = {}
        if isinstance(vocabulary, WordPieces):
            start_from = {k: torch.from_numpy(v) for k, v in vocabulary.start.items()}
        rate = features["speech"].steps_per_s if "speech" in features else 0.0
        common = {"metric": self.metric, "seed": self.seed, "device": self.device, "sample_rate": rate}
        common |= {"start_from": start_from}
        train, select = self.examples(name, self.taught_ids), self.examples(name, self.select_ids)
        settings = self.recipe.training_config
        done = train_system(
            name,
            sizes,
            settings,
            train,
            select,
            vary=self.augmenter(name, self.taught_ids),
            state_dir=state_dir,
            trained=self.trained,
            on_epoch=on_epoch,
            **common,
        )
        if not settings(name).refit or self.selection == "test":
            return replace(done, model=_without_auxiliary(done.model))

        def epochs_found(part: str) -> TrainingConfig:
            return replace(settings(part), max_epochs=self.trained[part].result.best_epoch)

        ids = self.taught_ids + self._with_auxiliary(self.select_ids)
        final = train_system(
            name,
            sizes,
            epochs_found,
            self.examples(name, ids),
            None,
            vary=self.augmenter(name, ids),
            state_dir=None if state_dir is None else state_dir / "refit",
            trained=self.refitted,
            **common,
        )
        return TrainedSystem(
            _without_auxiliary(final.model),
            done.result,
            done.seconds + final.seconds,
            done.cpu_seconds + final.cpu_seconds,
        )

    def test(self, name: str, done: TrainedSystem, removed: Collection[str] = ()) -> RunResult:
        """Read the test part, once, with the trained system; some modalities may be `removed` from it."""
        level = system(name).level
        examples = without(self.examples(name, self.fold.test), removed, level)
        probabilities = predict_probabilities(done.model, examples, level, self.device)
        labels = labels_by_id(examples)
        group = protocol(self.recipe.protocol).group
        return RunResult(
            name,
            self.fold.name,
            self.seed,
            self.fold.classes.classes,
            n_parameters(done.model),
            done.seconds,
            done.result.best_epoch,
            done.result.history,
            tuple(labels),
            tuple(group_of(self.inputs.by_id[i], group) for i in labels),
            np.array(list(labels.values())),
            np.stack([probabilities[i] for i in labels]).astype(np.float64),
            done.cpu_seconds,
        )

    def checkpoint(self, name: str, done: TrainedSystem, result: RunResult) -> Checkpoint:
        """The trained system as a checkpoint, calibrated on dev."""
        features = self.features(name)
        states = {m: feature_state(f) for m, f in features.items()}
        dims = {m: f.dim for m, f in features.items()}
        return Checkpoint(
            name,
            self.recipe.sizes(name, len(self.fold.classes.classes), dims),
            done.model,
            self.fold.classes.classes,
            {m: meta for m, (meta, _) in states.items()},
            {m: arrays for m, (_, arrays) in states.items()},
            self.temperature(name, self.trained[name]),
            {
                "recipe": self.recipe.model_dump(mode="json"),
                "training": asdict(self.recipe.training_config(name)),
                "fold": self.fold.name,
                "seed": self.seed,
                "selection": self.selection,
                "best_epoch": result.best_epoch,
                "test": result.metrics,
            },
            weights=self.recipe.weights,
        )

    def temperature(self, name: str, done: TrainedSystem) -> float:
        """What the logits are divided by so that the selection part is likeliest (Guo et al. 2017).

        `done` must not have been trained on dev: after a refit, the system of before it is meant.
        """
        examples = self.examples(name, self.select_ids)
        found = predict_probabilities(done.model, examples, system(name).level, self.device)
        labels = labels_by_id(examples)
        logits = np.log(np.maximum(np.stack([found[i] for i in labels]), 1e-12))
        return fit_temperature(logits, np.array(list(labels.values())))
