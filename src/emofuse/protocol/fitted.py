"""A modality's transform with what is fitted on the training part of a fold, and its place in a checkpoint."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emofuse.errors import ConfigError
from emofuse.features.extractor import Extractor
from emofuse.features.lexical import WordVectors
from emofuse.features.projection import Projection
from emofuse.features.running import Heard, running_deviation
from emofuse.features.text_hidden import TextHidden
from emofuse.features.wordpieces import WordPieces
from emofuse.media.audio import SAMPLE_RATE
from emofuse.protocol.feature import FeatureConfig, extractor_of


@dataclass(frozen=True)
class FittedFeature:
    """A modality's transform with what was fitted on the training part of one fold."""

    config: FeatureConfig
    projection: Projection | None = None
    vectors: WordVectors | WordPieces | None = None
    text_cnn: TextHidden | None = None
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
            arrays = [self.text_cnn(words) for words in arrays]
        if self.projection is None:
            return list(arrays)
        if self.config.is_sequence:
            return [self.projection.transform(a) for a in arrays]
        return list(self.projection.transform(np.stack(arrays)))


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
        meta["text_cnn"] = fitted.text_cnn.settings
        arrays |= {f"text_cnn.{k}": v for k, v in fitted.text_cnn.weights.items()}
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
        text_cnn = TextHidden(meta["text_cnn"], under("text_cnn."))
    extractor = extractor_of(config) if config.kind == "extract" else None
    if extractor is not None and json.loads(json.dumps(dict(extractor.settings))) != meta["extractor_settings"]:
        raise ConfigError(
            f"{config.extractor}: not as it was in training; now {dict(extractor.settings)}, "
            f"then {meta['extractor_settings']}"
        )
    return FittedFeature(config, projection, vectors, text_cnn, extractor)
