"""A recipe: a TOML of at most 30 lines that names corpus, protocol, systems and settings."""

import hashlib
import json
import tomllib
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from emofuse.corpora import check_name
from emofuse.errors import ConfigError
from emofuse.labels import label_set
from emofuse.models import make_config, system
from emofuse.models.cma import CMAConfig
from emofuse.models.linear import LinearConfig
from emofuse.models.mlp import MLPConfig
from emofuse.models.mman import MODALITIES
from emofuse.protocol.assignments import assign
from emofuse.protocol.feature import FeatureConfig
from emofuse.protocol.settings import TrainingConfig
from emofuse.protocol.splits import protocol

_OF_A_VECTOR = (LinearConfig, MLPConfig)


class Overrides(BaseModel):
    """Settings of one system that differ from the recipe's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)


class Recipe(BaseModel):
    """What to train on what, under which protocol.

    Attributes:
        name: Short name; report and checkpoints carry it.
        paper: Paper and table it reproduces.
        command: How to run it.
        expected: The score that a run should give, in words.
        corpus: Name as in `CORPORA`, or several as ``emodb+ravdess``.
        protocol: Id as in `PROTOCOLS`.
        labels: Label set, for a protocol that has none of its own.
        training_labels: Label set to learn from: the classes of `labels` and then auxiliary ones, which are outputs of
            their own in training and never predicted. Dev and test know `labels` alone. For networks of one vector.
        other_labels: What becomes of utterances whose label the protocol leaves out. ``drop``: they are not
            there. ``context``: a conversation system sees them in their dialogue, without their labels. ``votes``:
            those of the training part that have votes for its classes are trained on.
        permute_labels: Deal the corpus' labels out anew, by chance: a check. What then scores above chance leaks.
        metric: What selects on dev, where it is not the protocol's own.
        systems: Names as in `MODELS`.
        features: Modality to how its input is made.
        model: Sizes that differ from the paper's, for all systems.
        training: Settings of `TrainingConfig` that differ from its defaults, for all systems.
        overrides: System to settings of its own.
        weights: How a checkpoint keeps the network's: ``int8`` is a quarter of the size, see `emofuse.quantised`.
        published: System to the papers' figure for the primary metric, as a fraction of 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    paper: str
    command: str
    expected: str
    corpus: str
    protocol: str
    labels: str | None = None
    training_labels: str | None = None
    other_labels: Literal["drop", "context", "votes"] = "drop"
    permute_labels: bool = False
    metric: Literal["wa", "ua", "f1_macro", "f1_weighted"] | None = None
    systems: tuple[str, ...] = Field(min_length=1)
    features: dict[str, FeatureConfig] = Field(min_length=1)
    model: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    overrides: dict[str, Overrides] = Field(default_factory=dict)
    weights: Literal["float32", "int8"] = "float32"
    published: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        try:
            check_name(self.corpus)
            if protocol(self.protocol).labels is None:
                if self.labels is None:
                    raise ConfigError(f"protocol {self.protocol} has no labels of its own: set `labels`")
                label_set(self.labels)
            elif self.labels is not None:
                raise ConfigError(f"protocol {self.protocol} has its own labels: leave `labels` out")
            self._check_training_labels()
            for name in (*self.systems, *self.overrides):
                needed = set() if system(name).extractor else set(system(name).modalities)
                given = set(self.features)
                level = system(name).level
                if not needed <= given and (level == "utterance" or len(needed) == 1):
                    raise ConfigError(f"{name} needs features for {', '.join(sorted(needed - given))}")
                if level == "utterance" and any(self.features[m].relative for m in needed):
                    raise ConfigError(f"{name} judges utterances one by one: relative is for conversation systems")
                config = make_config(name, **self._model_settings(name))
                if self.other_labels == "votes" and (
                    isinstance(config, LinearConfig)
                    or level != "utterance"
                    or not self.training_config(name).soft_votes
                ):
                    raise ConfigError(
                        f'other_labels = "votes": {name} learns from no votes; that is for systems that judge '
                        "utterances one by one, with training.soft_votes"
                    )
                if isinstance(config, LinearConfig):
                    self._check_linear(name)
                    continue
                self._check_training(name)
                text = self.features.get("text")
                if "text" in needed and text is not None and (name == "minilm") != (text.kind == "wordpieces"):
                    raise ConfigError('minilm, and no other system, takes features.text of kind "wordpieces"')
                speech = self.features.get("speech")
                if isinstance(config, CMAConfig) and speech is not None and speech.kind == "extract":
                    if config.speech_input == "waveform" and "speech" in needed:
                        raise ConfigError(f"{name} reads a waveform; extracted features go into cma-speech-spectrogram")
                    if speech.pooling != "none":
                        raise ConfigError(f'{name} reads rows in time: set pooling = "none" in features.speech')
        except (ConfigError, TypeError) as error:
            raise ValueError(str(error)) from None
        return self

    def _check_training_labels(self) -> None:
        if self.training_labels is None:
            return
        predicted = label_set(protocol(self.protocol).labels or self.labels or "").classes
        learnt = label_set(self.training_labels).classes
        if learnt[: len(predicted)] != predicted or learnt == predicted:
            raise ConfigError(f"training_labels {self.training_labels}: need {', '.join(predicted)}, then others")
        if other := [name for name in self.systems if system(name).config is not MLPConfig]:
            raise ConfigError(f"training_labels: {other[0]} learns no further classes, speech-mlp and voice-mlp do")

    def _check_linear(self, name: str) -> None:
        self.training_config(name)
        kind = self.feature_configs(name)["speech"].kind
        if kind not in ("stored", "extract"):
            raise ConfigError(f"{name} takes one vector an utterance: stored or extracted features, not a {kind}")

    def _check_training(self, name: str) -> None:
        """Refuse settings that would do nothing."""
        training, hears = self.training_config(name), system(name).level == "utterance"
        speech = self.feature_configs(name).get("speech") if hears else None
        for setting in ("augment", "shorten"):
            if getattr(training, setting) and (speech is None or speech.kind == "stored"):
                raise ConfigError(
                    f"training.{setting}: {name} hears no recording; set it in overrides of those that do"
                )
        if training.mask_bands and (speech is None or not speech.is_sequence):
            raise ConfigError(f"training.mask_bands: {name} sees no spectrogram; set it in overrides of those that do")

    @property
    def primary_metric(self) -> str:
        """What selects on dev and stands first in a report: a key of `compute_metrics`."""
        return self.metric or protocol(self.protocol).metric

    def _model_settings(self, name: str) -> dict[str, Any]:
        shared = {} if system(name).config in _OF_A_VECTOR else self.model  # there are no sizes to share
        return shared | (self.overrides[name].model if name in self.overrides else {})

    def training_config(self, name: str) -> TrainingConfig:
        """Training settings of a system."""
        values = self.training | (self.overrides[name].training if name in self.overrides else {})
        unknown = set(values) - set(TrainingConfig.__dataclass_fields__)
        if unknown:
            known = ", ".join(TrainingConfig.__dataclass_fields__)
            raise ConfigError(f"unknown training setting {sorted(unknown)[0]!r}; known: {known}")
        try:
            return TypeAdapter(TrainingConfig).validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"training.{first['loc'][0]}: {first['msg']}") from None

    def knows_turns(self, name: str) -> bool:
        """Whether a system is told who speaks."""
        return getattr(make_config(name, **self._model_settings(name)), "turns", False)

    def feature_configs(self, name: str) -> dict[str, FeatureConfig]:
        """Modality to feature, for a system.

        A spectrogram system takes the spectrogram of the same speech, a linear one the statistics of the
        rows that others see in time, and one that is defined by a feature takes that.
        """
        entry = system(name)
        if entry.extractor:
            feature = {"kind": "extract", "extractor": entry.extractor, "pooling": entry.pooling}
            return {"speech": FeatureConfig.model_validate(feature)}
        if entry.level == "conversation":
            return dict(self.features)
        chosen = {m: self.features[m] for m in entry.modalities}
        if entry.config in _OF_A_VECTOR:
            if chosen["speech"].is_sequence:
                chosen["speech"] = chosen["speech"].model_copy(update={"pooling": "statistics"})
        elif "speech" in chosen and chosen["speech"].kind in ("waveform", "spectrogram"):
            kind = make_config(name, **self._model_settings(name)).speech_input
            chosen["speech"] = chosen["speech"].model_copy(update={"kind": kind})
        return chosen

    def modalities(self, name: str) -> tuple[str, ...]:
        """What a system decides on, in the papers' order."""
        entry = system(name)
        used = entry.modalities if len(entry.modalities) == 1 else tuple(self.feature_configs(name))
        return tuple(m for m in MODALITIES if m in used)

    def subsets(self, name: str) -> list[tuple[str, ...]]:
        """What is left of a system's modalities when some are removed, the larger first; none of a single one."""
        modalities = self.modalities(name)
        return [kept for n in range(len(modalities) - 1, 0, -1) for kept in combinations(modalities, n)]

    def sizes(self, name: str, n_classes: int, dims: dict[str, int]) -> Any:
        """Model configuration of a system for the feature sizes at hand."""
        entry = system(name)
        settings: dict[str, Any] = self._model_settings(name) | {"n_classes": n_classes}
        if entry.level == "conversation":
            settings["feature_dims"] = dims
            return make_config(name, **settings)
        if entry.config in _OF_A_VECTOR:
            return make_config(name, **settings | {"n_features": dims["speech"]})
        if name == "minilm":
            text = self.features["text"]
            settings |= {"n_pieces": text.vocabulary_size, "max_pieces": text.max_words}
        elif "text" in entry.modalities:
            settings["word_dim"] = dims["text"]
        if "speech" in entry.modalities and self.feature_configs(name)["speech"].is_sequence:
            settings["n_bins"] = dims["speech"]
        return make_config(name, **settings)

    def fingerprint(self, *more: object) -> str:
        """Changes with whatever changes a result; not with the prose."""
        content = self.model_dump(
            mode="json", exclude={"name", "paper", "command", "expected", "published", "systems", "weights"}
        )
        if self.other_labels == "drop":  # as before there was a choice: records of then stay good
            del content["other_labels"]
        if not self.permute_labels:
            del content["permute_labels"]
        if self.training_labels is None:
            del content["training_labels"]
        for feature in content["features"].values():
            for added, default in (("relative", False), ("beside", "")):
                if feature[added] == default:
                    del feature[added]
        return hashlib.sha256(json.dumps([content, more], sort_keys=True).encode()).hexdigest()[:16]


def _one_line(path: Path, error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(p) for p in first["loc"])
    if first["type"] == "extra_forbidden":
        parent = first["loc"][:-1]
        fields = Overrides if parent[:1] == ("overrides",) else FeatureConfig if parent[:1] == ("features",) else Recipe
        return f"{path}: unknown key {where!r}; known: {', '.join(fields.model_fields)}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{path}: {where}: {message}" if where else f"{path}: {message}"


def load_recipe(path: Path, assignments: Sequence[str] = ()) -> Recipe:
    """Read a recipe, with ``key=value`` assignments applied.

    Raises:
        ConfigError: The file is missing or no TOML, a key is unknown or a value out of range.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such recipe") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML ({error})") from None
    for assignment in assignments:
        assign(values, assignment)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_one_line(path, error)) from None
