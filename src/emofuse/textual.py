"""The hidden layer of a text CNN that was trained on one's own fold, as a feature."""

from functools import cache, partial
from pathlib import Path

import numpy as np

from emofuse.errors import ConfigError, DataError
from emofuse.features.extractor import Extractor
from emofuse.features.hub import sha256
from emofuse.features.lexical import WordVectors, split_words
from emofuse.features.text_hidden import TextHidden
from emofuse.quantised import unpack
from emofuse.trained import read_stored


def text_cnn(encoder: str | Path | None = None) -> Extractor:
    """Hidden layer of a text CNN (Kim 2014), as Pan et al. 2020 use it: one vector an utterance.

    Trained on the fold's training part alone it leaks no test label; take the checkpoint of the fold that you test.

    Args:
        encoder: Checkpoint folder of a ``text-cnn``, from `emofuse train`.

    Raises:
        ConfigError: No checkpoint is named, or it holds another system.
        DataError: It is missing or damaged.
    """
    if encoder is None:
        raise ConfigError("text-cnn: which one? The checkpoint folder of a text-cnn that was trained on your fold")
    folder = Path(encoder)
    hidden, _, _ = _load(folder)
    return Extractor(
        name="text-cnn",
        modality="text",
        dimensions=tuple(f"hidden {i}" for i in range(hidden.dim)),
        rate_hz=None,
        unit="activation, 0 or more",
        compute=partial(_vector, folder),
        settings={"weights": sha256(folder / "model.safetensors")},
    )


@cache  # once a process: an Extractor that is sent to a worker carries the folder only
def _load(folder: Path) -> tuple[TextHidden, WordVectors, int]:
    stored = read_stored(folder)
    if stored.system != "text-cnn" or not stored.weights:
        kind = "an exported text-cnn" if stored.system == "text-cnn" else stored.system
        raise ConfigError(f"{folder}: holds {kind}, need a text-cnn as `emofuse train` writes it")
    meta, arrays = stored.features["text"], stored.feature_arrays["text"]
    index = {word: i for i, word in enumerate(meta["words"].split("\n"))}
    vectors = WordVectors(index, arrays["vectors"].astype(np.float32), meta["table"])
    return TextHidden(stored.sizes, unpack(stored.weights)), vectors, int(meta["config"]["max_words"])


def _vector(folder: Path, text: str) -> np.ndarray:
    """(n_features,) of one text."""
    hidden, vectors, max_words = _load(folder)
    rows, _ = vectors.encode_words(split_words(text))
    if not len(rows):
        raise DataError("not one word of the text is in the vocabulary")
    return hidden(rows[:max_words])
