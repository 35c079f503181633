"""How a modality becomes a model's input: the settings, and what is computed of sound and of rows in time."""

from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from emofuse.errors import ConfigError
from emofuse.extractors import EXTRACTORS, make_extractor
from emofuse.features.acoustic import log_mel_spectrogram, log_power_spectrogram, mel_filters
from emofuse.features.extractor import Extractor, side_by_side
from emofuse.features.functionals import functionals
from emofuse.media.audio import SAMPLE_RATE, root_mean_square


class FeatureConfig(BaseModel):
    """How one modality is turned into a model's input.

    Attributes:
        kind: ``stored``: the corpus' own vector. ``waveform`` and ``spectrogram``: from the audio
            file. ``words``: word vectors. ``wordpieces``: ids of word pieces, for a BERT that is trained
            further. ``text-cnn``: the hidden layer of a text CNN over word
            vectors, trained inside the fold. ``face``: a face image, 48 × 48 grey values.
            ``extract``: a feature of `EXTRACTORS`.
        extractor: ``extract``: its name.
        encoder: ``extract``: the network it needs, see `Entry.encoder`. ``wordpieces``: the BERT that training
            starts from, a folder or a name on the hub; a trained system does not need it.
        beside: ``extract``, of a text: the encoder of a second one, of extractor ``sentence``, whose vector is put
            behind the first: what two encoders were trained for adds up. Empty: none.
        pooling: ``extract``, of a feature with rows in time: ``statistics``: their mean and standard
            deviation, ``mean``: the mean alone; ``functionals``, of ``voice``: `functionals`; ``none``: the
            rows, for a system that reads sequences.
        relative: A vector for a conversation system: append how far it is from the running mean of its
            speaker in the dialogue, see `running_deviation`.
        n_components: ``stored``, ``extract``: project to so many principal components fitted inside the fold; 0: none.
        n_mels: ``spectrogram``: log power in so many bands of the mel scale; 0: in 257 bins.
        max_s: ``waveform``, ``spectrogram``: only the first so many seconds are used.
        level: ``rms``: scale each waveform to the same level, so that the recording gain does not
            matter; ``none``: as recorded.
        word_vectors: Source as `load_word_vectors` takes it.
        max_words: Words, or word pieces, kept of an utterance.
        vocabulary_size: Most frequent word vectors kept beside the corpus' own words, so that a
            trained model knows words that its corpus lacks. ``wordpieces``: how many pieces are kept of the
            encoder's.
        dropout, max_epochs: ``text-cnn``: of its training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["stored", "waveform", "spectrogram", "words", "wordpieces", "text-cnn", "face", "extract"]
    extractor: str = ""
    encoder: str | None = None
    beside: str = ""
    pooling: Literal["statistics", "mean", "functionals", "none"] = "statistics"
    relative: bool = False
    n_components: int = Field(0, ge=0)
    n_mels: int = Field(0, ge=0)
    max_s: float = Field(10.0, gt=0)
    level: Literal["none", "rms"] = "none"
    word_vectors: str = "glove-6b-50d"
    max_words: int = Field(50, ge=1)
    vocabulary_size: int = Field(20_000, ge=0)
    dropout: float = Field(0.5, ge=0, lt=1)
    max_epochs: int = Field(30, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "FeatureConfig":
        if self.kind == "extract" and self.extractor not in EXTRACTORS:
            raise ValueError(f"extractor {self.extractor!r} is unknown; known: {', '.join(EXTRACTORS)}")
        if self.kind != "extract" and (self.extractor or (self.encoder and self.kind != "wordpieces")):
            raise ValueError(f"extractor and encoder are for kind extract, not {self.kind}")
        if self.kind == "wordpieces" and not self.encoder:
            raise ValueError("wordpieces: set encoder, a folder or a name on the hub, such as that of MiniLM")
        if self.beside and self.extractor not in ("minilm", "sentence"):
            raise ValueError("beside is for the extractors minilm and sentence")
        if self.pooling == "functionals" and self.extractor != "voice":
            raise ValueError("functionals are of the rows of extractor voice")
        if self.n_mels:
            try:
                mel_filters(self.n_mels)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        if self.relative and (self.is_sequence or self.kind not in ("stored", "text-cnn", "extract")):
            raise ValueError(f"relative is for one vector an utterance, not for {self.kind} in time")
        return self

    @property
    def is_sequence(self) -> bool:
        """Whether it is rows in time that are projected one by one."""
        return self.kind == "spectrogram" or (self.kind == "extract" and self.pooling == "none")


def extractors_of(config: FeatureConfig) -> list[tuple[str, str | None]]:
    """Names and encoders of what is extracted, in the order in which it stands in the vector."""
    first = [(config.extractor, config.encoder)]
    return [*first, ("sentence", config.beside)] if config.beside else first


def extractor_of(config: FeatureConfig) -> Extractor:
    """The extractor of kind ``extract``."""
    made = [make_extractor(*one) for one in extractors_of(config)]
    return side_by_side(*made) if config.beside else made[0]


def gain(rms: float, config: FeatureConfig) -> float:
    """What brings a waveform of this root mean square to the level that the model hears."""
    return 0.1 / max(rms, 1e-4) if config.level == "rms" else 1.0


def at_level(waveform: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """The first `max_s` seconds of a waveform, at the level that the model hears."""
    waveform = waveform[: round(config.max_s * SAMPLE_RATE)]
    if config.level == "rms":
        waveform = waveform * gain(root_mean_square(waveform), config)
    return waveform.astype(np.float32)


def speech_steps(waveform: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """A waveform of `at_level` as the raw input of a ``waveform`` or ``spectrogram`` model."""
    if config.kind == "waveform":
        return waveform
    return log_mel_spectrogram(waveform, config.n_mels) if config.n_mels else log_power_spectrogram(waveform)


def speech_array(waveform: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """(n_samples,) at 16 kHz -> the raw input of a ``waveform`` or ``spectrogram`` model."""
    return speech_steps(at_level(waveform, config), config)


def pool_rows(array: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """An extracted feature as the model takes it: its rows pooled to a vector where that is asked for."""
    if array.ndim == 1 or config.pooling == "none":
        return array
    if config.pooling == "functionals":
        return functionals(array)
    mean = array.mean(axis=0)
    return mean if config.pooling == "mean" else np.concatenate([mean, array.std(axis=0)])


def pool_without(rows: np.ndarray, edges: np.ndarray, config: FeatureConfig) -> list[np.ndarray]:
    """`pool_rows` of all rows (n_rows, n_values), and of the rows without each stretch between two edges.

    `edges` go from 0 to n_rows; a stretch is not all of them. Statistics are not taken anew for each: the sums of
    what is left are those of all rows less those of the stretch.
    """
    if config.pooling not in ("mean", "statistics"):
        kept = [np.concatenate([rows[:a], rows[b:]]) for a, b in pairwise(edges)]
        return [pool_rows(version, config) for version in (rows, *kept)]
    centre = rows.mean(axis=0, dtype=np.float64)
    x = rows - centre

    def means(values: np.ndarray) -> np.ndarray:
        """Without each stretch: (n_stretches, n_values)."""
        sums = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(axis=0)])[edges]
        return (sums[-1] - np.diff(sums, axis=0)) / (len(values) - np.diff(edges))[:, None]

    mean = means(x)
    found = centre + mean
    if config.pooling == "statistics":
        found = np.concatenate([found, np.sqrt(np.maximum(means(x**2) - mean**2, 0))], axis=1)
    return [pool_rows(rows, config), *found.astype(rows.dtype)]
