"""Media in, predictions out: one checkpoint, or several single-modality ones fused late."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from emofuse.batching import IGNORE, Example, collate
from emofuse.checkpoint import Checkpoint, load_checkpoint
from emofuse.errors import ConfigError, DataError
from emofuse.media.audio import SAMPLE_RATE, read_audio
from emofuse.models import system
from emofuse.protocol.inputs import FittedFeature, feature_from_state, speech_array

MODALITIES = ("speech", "visual", "text")
WINDOW_S = 10.0
"""Longest stretch of speech that a model sees at once, as in Krishna & Patil 2020."""


@dataclass(frozen=True)
class Prediction:
    """What was felt in one utterance.

    Attributes:
        source: The file, as it was named.
        start_s, end_s: Place in the file, in seconds.
        speaker: None when not known.
        text: The words that were given, None without.
        label: The likeliest class.
        probabilities: Class to probability; they sum to 1.
        modalities: What the decision rests on.
        missing: What the model could have used and was not there.
    """

    source: str
    start_s: float
    end_s: float
    speaker: str | None
    text: str | None
    label: str
    probabilities: dict[str, float]
    modalities: tuple[str, ...]
    missing: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of this prediction: the same from command line and Python."""
        return asdict(self) | {"modalities": list(self.modalities), "missing": list(self.missing)}


def windows(waveform: np.ndarray, n_samples: int) -> list[np.ndarray]:
    """Stretches of `n_samples` that cover a waveform, the last one ending at its end; a shorter one is whole."""
    n = len(waveform)
    if n <= n_samples:
        return [waveform]
    starts = [*range(0, n - n_samples, n_samples), n - n_samples]
    return [waveform[s : s + n_samples] for s in starts]


class Part:
    """One checkpoint, ready to use."""

    def __init__(self, checkpoint: Checkpoint, source: str) -> None:
        """Fitted features from a loaded checkpoint; `source` names it in messages."""
        self.model, self.classes = checkpoint.model, checkpoint.classes
        self.level = system(checkpoint.system).level
        self.temperature = checkpoint.temperature
        self.features: dict[str, FittedFeature] = {}
        for modality, meta in checkpoint.features.items():
            self.features[modality] = feature_from_state(meta, checkpoint.feature_arrays.get(modality, {}))
        stored = [m for m, f in self.features.items() if f.config.kind == "stored"]
        if stored:
            raise ConfigError(
                f"{source}: {checkpoint.system} was trained on a corpus' stored {', '.join(stored)} features, which "
                "cannot be made from a media file; use `emofuse evaluate` on a corpus, or a model on waveform and words"
            )

    def logits(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """(n_classes,) calibrated logits of one utterance from its model inputs."""
        if self.level == "conversation":
            inputs = {m: a[None] for m, a in inputs.items()}
        batch = collate([Example(("",), np.array([IGNORE]), dict(inputs))], self.level)
        with torch.inference_mode():
            return self.model(**batch.inputs).double().numpy().reshape(-1) / self.temperature

    def probabilities(self, waveform: np.ndarray | None, text: str | None) -> np.ndarray | None:
        """(n_classes,) from the modalities that this part needs, or None when one of them is not there."""
        fixed: dict[str, np.ndarray] = {}
        if "text" in self.features:
            feature = self.features["text"]
            if not text or feature.vectors is None:
                return None
            words = feature.vectors.encode(text, feature.config.max_words)
            if not words.any():  # not one word is known, as in another language: no evidence at all
                return None
            fixed["text"] = feature.transform([words])[0]
        if "speech" not in self.features:
            return softmax(self.logits(fixed))
        if waveform is None:
            return None
        feature = self.features["speech"]
        n_samples = round(min(feature.config.max_s, WINDOW_S) * SAMPLE_RATE)
        per_window = [
            softmax(self.logits(fixed | {"speech": feature.transform([speech_array(part, feature.config)])[0]}))
            for part in windows(waveform, n_samples)
        ]
        return np.mean(per_window, axis=0)


class Predictor:
    """Predicts emotions in media files with one or more checkpoints."""

    def __init__(self, parts: Sequence[Part], weights: Sequence[float]) -> None:
        """`weights`: share of each part in the log-linear opinion pool, p ~ prod p_i^(w_i / sum w).

        The sum runs over the parts whose modalities are there; a part that is alone decides alone.

        Raises:
            ConfigError: The parts do not share their classes.
        """
        if len({part.classes for part in parts}) != 1:
            raise ConfigError(f"parts with different classes cannot be fused: {[list(p.classes) for p in parts]}")
        self.parts, self.weights = tuple(parts), tuple(weights)
        self.classes = parts[0].classes
        self.modalities = tuple(m for m in MODALITIES if any(m in p.features for p in parts))

    def predict_array(
        self, waveform: np.ndarray | None, text: str | None = None, source: str = "array", speaker: str | None = None
    ) -> Prediction:
        """Predict one utterance.

        Args:
            waveform: (n_samples,) float in [-1, 1], mono at 16 kHz; None when there is no sound.
            text: Its words, if known.
            source: What to call it.
            speaker: Who speaks, if known.

        Raises:
            DataError: Nothing that the model can use is there, or the text is empty.
        """
        if text is not None and not text.strip():
            raise DataError(f"{source}: the text is empty, give the words that were said or leave it out")
        used: set[str] = set()
        total, weight_used = np.zeros(len(self.classes)), 0.0
        for part, weight in zip(self.parts, self.weights, strict=True):
            p = part.probabilities(waveform, text)
            if p is not None:
                total += weight * np.log(np.maximum(p, 1e-9))
                weight_used += weight
                used |= set(part.features)
        if not used:
            needs = " or ".join(" and ".join(part.features) for part in self.parts)
            given = [m for m, there in (("speech", waveform is not None), ("text", text)) if there]
            hint = " without a word that it knows" if text and "text" in needs else ""
            raise DataError(f"{source}: the model needs {needs}, found {' and '.join(given) or 'nothing'}{hint}")
        probabilities = softmax(total / weight_used)
        end_s = 0.0 if waveform is None else len(waveform) / SAMPLE_RATE
        return Prediction(
            source,
            0.0,
            round(end_s, 3),
            speaker,
            text,
            self.classes[int(probabilities.argmax())],
            {c: round(float(p), 4) for c, p in zip(self.classes, probabilities, strict=True)},
            tuple(m for m in self.modalities if m in used),
            tuple(m for m in self.modalities if m not in used),
        )

    def predict(self, path: str | Path, text: str | None = None) -> Prediction:
        """Predict one media file, taken as one utterance.

        Raises:
            DataError: The file is missing, cannot be decoded or is too short; the message says which.
        """
        return self.predict_array(read_audio(Path(path)), text, str(path))

    def predict_many(self, paths: Sequence[str | Path], text: str | None = None) -> Iterator[Prediction]:
        """Predict files one by one."""
        for path in paths:
            yield self.predict(path, text)


def default_model() -> Path:
    """Folder of the model that ships with the package."""
    return Path(str(files("emofuse") / "assets" / "default"))


def load(path: str | Path | None = None) -> Predictor:
    """A predictor from a checkpoint folder, a fusion folder, or (None) the model that ships with the package.

    A fusion folder holds one checkpoint folder a part and ``fusion.json``:
    ``{"parts": {FOLDER: WEIGHT, ...}}``.

    Raises:
        DataError: Something is missing or malformed.
        ConfigError: The model cannot work on media files.
    """
    folder = default_model() if path is None else Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such model folder")
    fusion = folder / "fusion.json"
    if not fusion.exists():
        return Predictor([Part(load_checkpoint(folder), str(folder))], [1.0])
    try:
        parts: dict[str, float] = json.loads(fusion.read_text(encoding="utf-8"))["parts"]
        weights = [float(w) for w in parts.values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f'{fusion}: need {{"parts": {{FOLDER: WEIGHT}}}} ({error!r})') from None
    return Predictor([Part(load_checkpoint(folder / name), str(folder / name)) for name in parts], weights)
