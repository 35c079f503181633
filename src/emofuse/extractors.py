"""Every feature by name: what `emofuse extract` and recipes can ask for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

from emofuse.errors import ConfigError
from emofuse.facial import facial_expression
from emofuse.features.acoustic import log_mel, log_power, waveform
from emofuse.features.extractor import Extractor
from emofuse.features.smile import compare_2016, egemaps, is13
from emofuse.features.speech_encoders import wav2vec2, whisper
from emofuse.features.text_encoders import minilm, sentence, words
from emofuse.features.voice import voice
from emofuse.features.whisper_lower import whisper_lower
from emofuse.motion import body_motion
from emofuse.textual import text_cnn


@dataclass(frozen=True)
class Entry:
    """A feature that can be asked for.

    Attributes:
        make: Factory; its parameters are the feature's options.
        modality: What it takes.
        description: One line.
        encoder: What ``--encoder`` names: a folder, file or hub name; empty where there is nothing to name.
        extra: What to install beside emofuse itself; empty for nothing.
    """

    make: Callable[..., Extractor]
    modality: str
    description: str
    encoder: str = ""
    extra: str = ""


_SMILE = "openSMILE is free for research only"

EXTRACTORS: dict[str, Entry] = {
    "waveform": Entry(waveform, "speech", "samples, 16 kHz"),
    "log-power-spectrogram": Entry(log_power, "speech", "257 bins, 25 ms window, 10 ms shift"),
    "log-mel": Entry(log_mel, "speech", "80 bands, 25 ms window, 10 ms shift"),
    "voice": Entry(voice, "speech", "64 bands, pitch, voicing and level, 100 rows/s"),
    "is13": Entry(is13, "speech", f"IS13-ComParE, 6373 values an utterance; {_SMILE}", extra="opensmile"),
    "compare-2016": Entry(compare_2016, "speech", f"ComParE 2016, 6373 values; {_SMILE}", extra="opensmile"),
    "egemaps": Entry(egemaps, "speech", f"eGeMAPSv02, 88 values an utterance; {_SMILE}", extra="opensmile"),
    "wav2vec2": Entry(wav2vec2, "speech", "wav2vec 2.0, HuBERT or WavLM, 50 rows/s", "folder or hub name", "hub"),
    "whisper": Entry(whisper, "speech", "encoder of a Whisper model, 50 rows/s", "folder or name", "asr"),
    "whisper-lower": Entry(whisper_lower, "speech", "two lower layers of Whisper tiny.en, which ship, 50 rows/s"),
    "words": Entry(words, "text", "word vectors, a row a word", "GloVe or word2vec file", "glove"),
    "text-cnn": Entry(
        text_cnn, "text", "hidden layer of a text CNN of your fold, 100 values", "checkpoint of text-cnn"
    ),
    "sentence": Entry(
        sentence, "text", "a transformers text model, a vector an utterance", "folder or hub name", "hub"
    ),
    "minilm": Entry(
        minilm, "text", "MiniLM in ONNX, 384 values an utterance", "folder of model and tokenizer", "minilm"
    ),
    "face-probabilities": Entry(
        facial_expression, "visual", "expression of the speaking face, a row a picture", "checkpoint of face-cnn"
    ),
    "face-embedding": Entry(
        partial(facial_expression, "embedding"),
        "visual",
        "layer before the probabilities, a row a picture",
        "checkpoint of face-cnn",
    ),
    "body-motion": Entry(
        body_motion,
        "visual",
        "R3D-18 of the upper body, 512 values a clip of 16 pictures",
        "weights (safetensors, pth)",
    ),
}


def make_extractor(name: str, encoder: str | None = None, options: Mapping[str, Any] | None = None) -> Extractor:
    """The extractor of that name.

    Args:
        name: A key of `EXTRACTORS`.
        encoder: What its `Entry.encoder` describes.
        options: Other parameters of its factory.

    Raises:
        ConfigError: The name or an option is unknown, a package or the encoder is missing.
        DataError: The encoder's files are damaged.
    """
    if name not in EXTRACTORS:
        raise ConfigError(f"unknown feature {name!r}; known: {', '.join(EXTRACTORS)}")
    entry = EXTRACTORS[name]
    if encoder is not None and not entry.encoder:
        raise ConfigError(f"{name}: has no encoder to choose")
    _check_options(name, entry.make, options or {})
    named = {} if encoder is None else {"encoder": encoder}
    try:
        return entry.make(**named, **(options or {}))
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from None


_KINDS = {
    int: ("a whole number", int),
    float: ("a number", (int, float)),
    str: ("a name", str),
    bool: ("true or false", bool),
}


def _check_options(name: str, make: Callable[..., Extractor], options: Mapping[str, Any]) -> None:
    """Refuse an option that the feature does not have, and one of another kind than it needs."""
    parameters = {key: p for key, p in signature(make).parameters.items() if key != "encoder"}
    for key, value in options.items():
        if key not in parameters:
            raise ConfigError(f"{name}: no option {key!r}; it has {', '.join(parameters) or 'none'}")
        kind = _KINDS.get(parameters[key].annotation)
        if kind is not None and (not isinstance(value, kind[1]) or (isinstance(value, bool) and kind[1] is not bool)):
            raise ConfigError(f"{name}: {key} is {value!r}, need {kind[0]}")
