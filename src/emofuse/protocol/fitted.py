"""A modality's transform with what is fitted on the training part of a fold, and its place in a checkpoint."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from emofuse.batching import Example, collate
from emofuse.errors import ConfigError
from emofuse.features.extractor import Extractor
from emofuse.features.lexical import WordVectors
from emofuse.features.projection import Projection, fit_projection
from emofuse.features.running import Heard, running_deviation
from emofuse.features.wordpieces import WordPieces
from emofuse.media.audio import SAMPLE_RATE
from emofuse.models import make_config
from emofuse.models.text_cnn import TextCNN
from emofuse.protocol.feature import FeatureConfig, extractor_of
from emofuse.protocol.settings import TrainingConfig
from emofuse.protocol.train import train_system


@dataclass(frozen=True)
class FittedFeature:
    """A modality's transform with what was fitted on the training part of one fold."""

    config: FeatureConfig
    projection: Projection | None = None
    vectors: WordVectors | WordPieces | None = None
    text_cnn: TextCNN | None = None
    extractor: Extractor | None = None

    @property
    def dim(self) -> int:
        """Size of the last axis of what the model sees; 0 for a waveform."""
        if self.projection is not None:
            return self.projection.dim * (2 if self.config.relative else 1)
        return self.vectors.dim if self.vectors is not None else 0

    @property
    def steps_per_s(self) -> float:
        """Steps of the input a second; 0 where steps are not time."""
        if self.extractor is not None and self.config.is_sequence:
            return self.extractor.rate_hz or 0.0
        return {"waveform": SAMPLE_RATE, "spectrogram": 100.0}.get(self.config.kind, 0.0)

    def in_dialogue(
        self, rows: np.ndarray, speakers: Sequence[str | None], present: np.ndarray, heard: Heard | None = None
    ) -> np.ndarray:
        """(n_utterances, n) transformed rows of a dialogue in order -> (n_utterances, dim) as the model sees them.

        Rows that are not `present`, (n_utterances,), do not count as something that their speaker said. `heard`: see
        `running_deviation`.
        """
        if not self.config.relative:
            return rows
        who = [s if there else None for s, there in zip(speakers, present, strict=True)]
        return np.concatenate([rows, running_deviation(rows, who, heard)], axis=1)

    @property
    def absent(self) -> np.ndarray:
        """What stands for a missing one: zeros in the place of a vector, no steps of a sequence."""
        if self.config.kind == "waveform":
            return np.zeros(0, np.float32)
        n = self.dim // 2 if self.config.relative else self.dim
        if self.config.kind == "wordpieces":
            return np.zeros(0, np.int32)
        in_time = self.config.is_sequence or self.config.kind == "words"
        return np.zeros((0, n) if in_time else n, np.float32)

    def apply(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Raw arrays by id to model inputs by id."""
        return dict(zip(arrays, self.transform(list(arrays.values())), strict=True)) if arrays else {}

    def transform(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Raw arrays to model inputs, one each."""
        if self.text_cnn is not None:
            arrays = list(_hidden_layer(self.text_cnn, arrays))
        if self.projection is None:
            return list(arrays)
        if self.config.is_sequence:
            return [self.projection.transform(a) for a in arrays]
        return list(self.projection.transform(np.stack(arrays)))


def _hidden_layer(model: TextCNN, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """(n_utterances, n_features): the text CNN's hidden layer."""
    model.eval()
    device = next(model.parameters()).device
    rows = []
    with torch.inference_mode():
        for start in range(0, len(arrays), 256):
            part = [Example(("",), np.zeros(1, int), {"text": a}) for a in arrays[start : start + 256]]
            rows.append(model.features(**collate(part, "utterance").to(device).inputs).cpu().numpy())
    return np.concatenate(rows)


def fit_feature(
    config: FeatureConfig,
    train: dict[str, np.ndarray],
    select: dict[str, np.ndarray],
    labels: Mapping[str, int],
    *,
    vectors: WordVectors | WordPieces | None,
    n_classes: int,
    metric: str,
    seed: int,
    device: torch.device,
) -> FittedFeature:
    """Fit a modality's transform on the training part; the selection part only stops the text CNN."""
    if config.kind in ("waveform", "words", "wordpieces", "face"):
        return FittedFeature(config, vectors=vectors)
    extractor = extractor_of(config) if config.kind == "extract" else None
    if config.is_sequence:
        rows = np.concatenate([np.atleast_2d(a)[::4] for a in train.values()])
        return FittedFeature(config, fit_projection(rows, config.n_components or None), extractor=extractor)
    if extractor is not None:
        stacked = np.stack(list(train.values()))
        return FittedFeature(config, fit_projection(stacked, config.n_components or None), extractor=extractor)
    if config.kind == "stored":
        return FittedFeature(config, fit_projection(np.stack(list(train.values())), config.n_components or None))
    assert vectors is not None
    sizes = make_config("text-cnn", n_classes=n_classes, word_dim=vectors.dim, dropout=config.dropout)
    settings = TrainingConfig(max_epochs=config.max_epochs, patience=5, class_weights=True)
    parts = [[Example((i,), np.array([labels[i]]), {"text": a}) for i, a in part.items()] for part in (train, select)]
    done = train_system("text-cnn", sizes, lambda _: settings, *parts, metric=metric, seed=seed, device=device)
    model = done.model
    assert isinstance(model, TextCNN)
    hidden = _hidden_layer(model, list(train.values()))
    return FittedFeature(config, fit_projection(hidden), vectors, model)


def feature_state(fitted: FittedFeature) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a checkpoint stores of a fitted feature: JSON values and arrays."""
    meta: dict[str, Any] = {"config": fitted.config.model_dump()}
    arrays: dict[str, np.ndarray] = {}
    if fitted.projection is not None:
        arrays |= {f"projection.{k}": v.astype(np.float32) for k, v in fitted.projection.to_arrays().items()}
    if isinstance(fitted.vectors, WordPieces):  # its embeddings are the system's
        meta["words"] = "\n".join(fitted.vectors.index)
    elif fitted.vectors is not None:
        # One string, not a list: an indented config.json would give every word a line.
        meta |= {"words": "\n".join(fitted.vectors.index), "table": fitted.vectors.name}
        arrays["vectors"] = fitted.vectors.vectors.astype(np.float16)
    if fitted.text_cnn is not None:
        meta["text_cnn"] = asdict(fitted.text_cnn.config)
        arrays |= {f"text_cnn.{k}": v.cpu().numpy() for k, v in fitted.text_cnn.state_dict().items()}
    if fitted.extractor is not None:
        meta["extractor_settings"] = dict(fitted.extractor.settings)
    return meta, arrays


def feature_from_state(meta: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> FittedFeature:
    """Inverse of `feature_state`."""

    def under(prefix: str) -> dict[str, np.ndarray]:
        return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

    config = FeatureConfig(**meta["config"])
    projection, vectors, text_cnn = None, None, None
    if arrays_of_projection := under("projection."):
        projection = Projection.from_arrays(arrays_of_projection)
    if config.kind == "wordpieces":
        vectors = WordPieces({piece: i for i, piece in enumerate(meta["words"].split("\n"))})
    elif "words" in meta:
        index = {word: i for i, word in enumerate(meta["words"].split("\n"))}
        vectors = WordVectors(index, arrays["vectors"].astype(np.float32), meta["table"])
    if "text_cnn" in meta:
        text_cnn = TextCNN(make_config("text-cnn", **meta["text_cnn"]))
        text_cnn.load_state_dict({k: torch.from_numpy(v) for k, v in under("text_cnn.").items()})
    extractor = extractor_of(config) if config.kind == "extract" else None
    if extractor is not None and json.loads(json.dumps(dict(extractor.settings))) != meta["extractor_settings"]:
        raise ConfigError(
            f"{config.extractor}: not as it was in training; now {dict(extractor.settings)}, "
            f"then {meta['extractor_settings']}"
        )
    return FittedFeature(config, projection, vectors, text_cnn, extractor)
