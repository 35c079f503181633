"""From utterances to what a model sees: raw arrays once, then whatever must be fitted inside a fold."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from emofuse.batching import IGNORE, Example, collate, speaker_turns
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import ConfigError, DataError
from emofuse.extraction import extract, load_features
from emofuse.extractors import EXTRACTORS, make_extractor
from emofuse.features.acoustic import log_mel_spectrogram, log_power_spectrogram, mel_filters
from emofuse.features.extractor import Extractor
from emofuse.features.functionals import functionals
from emofuse.features.lexical import WordVectors, load_word_vectors, tokenize
from emofuse.features.projection import Projection, fit_projection
from emofuse.features.running import running_deviation
from emofuse.features.store import FeatureStore
from emofuse.features.subwords import Subwords
from emofuse.features.text_encoders import minilm_words
from emofuse.labels import LabelSet
from emofuse.media.audio import SAMPLE_RATE, read_audio
from emofuse.media.image import read_face
from emofuse.models import make_config
from emofuse.models.text_cnn import TextCNN
from emofuse.progress import progress
from emofuse.protocol.presence import lacking
from emofuse.protocol.train import TrainingConfig, train_system


class FeatureConfig(BaseModel):
    """How one modality is turned into a model's input.

    Attributes:
        kind: ``stored``: the corpus' own vector. ``waveform`` and ``spectrogram``: from the audio
            file. ``words``: word vectors. ``subwords``: ids of words and their parts, for embeddings that
            are trained. ``text-cnn``: the hidden layer of a text CNN over word
            vectors, trained inside the fold. ``face``: a face image, 48 × 48 grey values.
            ``extract``: a feature of `EXTRACTORS`.
        extractor: ``extract``: its name.
        encoder: ``extract``: the network it needs, see `Entry.encoder`.
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
        max_words: Words kept of an utterance.
        vocabulary_size: Most frequent word vectors kept beside the corpus' own words, so that a
            trained model knows words that its corpus lacks. ``subwords``: all words with an embedding
            of their own, those that the corpus has twice and then the most frequent ones.
        minilm_dim: ``subwords``: so many numbers of what MiniLM makes of each word, beside its word vector, for
            the embeddings to start from; the trained system does not need MiniLM. 0: none.
        n_grams, n_pairs: ``subwords``: hash buckets of letter n-grams and of pairs of words.
        dropout, max_epochs: ``text-cnn``: of its training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["stored", "waveform", "spectrogram", "words", "subwords", "text-cnn", "face", "extract"]
    extractor: str = ""
    encoder: str | None = None
    pooling: Literal["statistics", "mean", "functionals", "none"] = "statistics"
    relative: bool = False
    n_components: int = Field(0, ge=0)
    n_mels: int = Field(0, ge=0)
    max_s: float = Field(10.0, gt=0)
    level: Literal["none", "rms"] = "none"
    word_vectors: str = "glove-6b-50d"
    max_words: int = Field(50, ge=1)
    vocabulary_size: int = Field(20_000, ge=0)
    minilm_dim: int = Field(0, ge=0)
    n_grams: int = Field(20_000, ge=1)
    n_pairs: int = Field(65_536, ge=1)
    dropout: float = Field(0.5, ge=0, lt=1)
    max_epochs: int = Field(30, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "FeatureConfig":
        if self.kind == "extract" and self.extractor not in EXTRACTORS:
            raise ValueError(f"extractor {self.extractor!r} is unknown; known: {', '.join(EXTRACTORS)}")
        if self.kind != "extract" and (self.extractor or self.encoder):
            raise ValueError(f"extractor and encoder are for kind extract, not {self.kind}")
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


def at_level(waveform: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """The first `max_s` seconds of a waveform, at the level that the model hears."""
    waveform = waveform[: round(config.max_s * SAMPLE_RATE)]
    if config.level == "rms":
        waveform = waveform * (0.1 / max(float(np.sqrt(np.mean(waveform**2))), 1e-4))
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


def _extract_missing(
    utterances: Sequence[Utterance], corpus: Corpus, make: Callable[[], Extractor], store: FeatureStore
) -> None:
    with progress(transient=True) as bar:
        task = bar.add_task("extracting features", total=len(utterances))
        report = extract(utterances, make, store, on_event=lambda _: bar.advance(task))
    if report.failures:
        i, reason = report.failures[0]
        raise DataError(f"{corpus.name}: {len(report.failures)} features cannot be had; of utterance {i}: {reason}")


def _extracted(
    utterances: Sequence[Utterance], corpus: Corpus, modality: str, config: FeatureConfig, store: Path | None
) -> dict[str, np.ndarray]:
    """Arrays of a feature of `EXTRACTORS`, looked up in the store or computed."""
    make = partial(make_extractor, config.extractor, config.encoder)
    extractor = make()
    if extractor.modality != modality:
        raise ConfigError(f"features.{modality}: {config.extractor} is a feature of {extractor.modality}")
    with ExitStack() as stack:
        folder = store or Path(stack.enter_context(TemporaryDirectory()))
        features = stack.enter_context(FeatureStore(folder))
        name = features.table(extractor).folder.name
        try:
            found = load_features(features, name, utterances)
        except DataError:  # not all of them are there yet
            _extract_missing(utterances, corpus, make, features)
            found = load_features(features, name, utterances)
    return {i: pool_rows(array, config) for i, array in found.items()}


def load_vectors(config: FeatureConfig, texts: Sequence[str]) -> WordVectors:
    """The word vectors of a corpus' words and of the most frequent ones, rounded to what a checkpoint stores."""
    table = load_word_vectors(config.word_vectors)
    words = {word for text in texts for word in tokenize(text)}
    parts = {part for word in words for part in word.split("-")}
    frequent = list(table.index)[: config.vocabulary_size]
    kept = [w for w in dict.fromkeys([*frequent, *sorted(words | parts)]) if w in table.index]
    rows = table.vectors[[table.index[w] for w in kept]]
    vectors = rows.astype(np.float16).astype(np.float32)
    return WordVectors({w: i for i, w in enumerate(kept)}, vectors, table.name)


def load_subwords(config: FeatureConfig, texts: Sequence[str]) -> Subwords:
    """The words that a corpus has at least twice, then the most frequent ones, starting at their word vectors."""
    table = load_word_vectors(config.word_vectors)
    counts = Counter(token for text in texts for token in tokenize(text))
    own = [token for token, n in counts.most_common() if n > 1]
    words = list(dict.fromkeys([*own, *table.index]))[: config.vocabulary_size]
    start = np.zeros((config.vocabulary_size + 1, table.dim), np.float32)
    for i, word in enumerate(words, start=1):
        if word in table.index:
            start[i] = table.vectors[table.index[word]]
    if config.minilm_dim:
        more = np.zeros((len(start), config.minilm_dim), np.float32)
        more[1 : 1 + len(words)] = minilm_words(words, config.minilm_dim) * start[1 : 1 + len(words)].std()
        start = np.concatenate([start, more], axis=1)
    return Subwords({word: i for i, word in enumerate(words, start=1)}, config.n_grams, config.n_pairs, start)


@dataclass(frozen=True)
class RawInput:
    """What one modality gives before anything is fitted: the same in every fold.

    Attributes:
        arrays: Utterance id to array.
        vectors: The word vectors or the vocabulary it was made with, where it has any.
        lacks: Utterance id to why it has no array.
    """

    arrays: dict[str, np.ndarray]
    vectors: WordVectors | Subwords | None = None
    lacks: Mapping[str, str] = field(default_factory=dict)


def _raw_array(
    u: Utterance, corpus: Corpus, modality: str, config: FeatureConfig, words: WordVectors | Subwords | None
) -> np.ndarray:
    """One modality of one utterance that has it, before anything fitted is applied."""
    if config.kind == "stored":
        array = corpus.features[modality][u.features[modality]]
        if array.ndim == 2:  # a padded sequence: the mean over its steps, which are zero behind the end
            array = array[array.any(axis=1)].mean(axis=0) if array.any() else array[0]
        return array
    if words is not None:
        return words.encode(u.text or "", config.max_words)
    if config.kind == "face":
        assert u.image is not None
        return read_face(u.image, u.tile)[None]
    path = u.audio or u.video
    assert path is not None
    return speech_array(read_audio(path, u.media_start_s, u.media_end_s), config)


def read_raw(
    utterances: Sequence[Utterance],
    corpus: Corpus,
    modality: str,
    config: FeatureConfig,
    vectors: WordVectors | Subwords | None,
    store: Path | None = None,
) -> dict[str, np.ndarray]:
    """One modality of many utterances, by id; shows its progress on stderr where files are read.

    Utterances that have nothing to make it of, see `lacking`, are left out.

    Raises:
        DataError: A file cannot be read, or a feature that must be finite is not; the message names
            the utterance or the file.
    """
    lacks = lacking(utterances, modality, config.kind)
    utterances = [u for u in utterances if u.id not in lacks]
    if not utterances:
        return {}
    if config.kind == "extract":
        return _extracted(utterances, corpus, modality, config, store)
    arrays: dict[str, np.ndarray] = {}
    quiet = config.kind not in ("waveform", "spectrogram", "face")
    with nullcontext() if quiet else progress(transient=True) as bar:
        for u in utterances if bar is None else bar.track(utterances, description=f"reading {modality}"):
            array = arrays[u.id] = _raw_array(u, corpus, modality, config, vectors)
            if not np.isfinite(array).all() and modality not in corpus.nan_allowed:
                raise DataError(
                    f"{corpus.name}: {modality} of utterance {u.id} holds NaN or infinity, need finite values"
                )
    return arrays


def load_raw(
    utterances: Sequence[Utterance], corpus: Corpus, modality: str, config: FeatureConfig, store: Path | None = None
) -> RawInput:
    """Read and compute everything that is the same in every fold; errors as `read_raw`, or if nothing has the modality.

    Extracted features are looked up in the feature store `store`, and added to it; None: computed for this time.
    """
    lacks = lacking(utterances, modality, config.kind)
    if len(lacks) == len(utterances):
        others = f", nor has any other of {len(lacks)}" if len(lacks) > 1 else ""
        raise DataError(f"{corpus.name}: utterance {utterances[0].id} {lacks[utterances[0].id]}{others}")
    vectors = None
    if config.kind in ("words", "text-cnn", "subwords"):
        load = load_subwords if config.kind == "subwords" else load_vectors
        vectors = load(config, [u.text for u in utterances if u.text])
    return RawInput(read_raw(utterances, corpus, modality, config, vectors, store), vectors, lacks)


@dataclass(frozen=True)
class FittedFeature:
    """A modality's transform with what was fitted on the training part of one fold."""

    config: FeatureConfig
    projection: Projection | None = None
    vectors: WordVectors | Subwords | None = None
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

    def in_dialogue(self, rows: np.ndarray, speakers: Sequence[str | None], present: np.ndarray) -> np.ndarray:
        """(n_utterances, n) transformed rows of a dialogue in order -> (n_utterances, dim) as the model sees them.

        Rows that are not `present`, (n_utterances,), do not count as something that their speaker said.
        """
        if not self.config.relative:
            return rows
        heard = [s if there else None for s, there in zip(speakers, present, strict=True)]
        return np.concatenate([rows, running_deviation(rows, heard)], axis=1)

    @property
    def absent(self) -> np.ndarray:
        """What stands for a missing one: zeros in the place of a vector, no steps of a sequence."""
        if self.config.kind == "waveform":
            return np.zeros(0, np.float32)
        n = self.dim // 2 if self.config.relative else self.dim
        in_time = self.config.is_sequence or self.config.kind in ("words", "subwords")
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
    vectors: WordVectors | Subwords | None,
    n_classes: int,
    metric: str,
    seed: int,
    device: torch.device,
) -> FittedFeature:
    """Fit a modality's transform on the training part; the selection part only stops the text CNN."""
    if config.kind in ("waveform", "words", "subwords", "face"):
        return FittedFeature(config, vectors=vectors)
    extractor = make_extractor(config.extractor, config.encoder) if config.kind == "extract" else None
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


def vote_shares(votes: Mapping[str, int], classes: LabelSet) -> np.ndarray:
    """(n_classes,) shares of the votes that fall on a class; they sum to 1, or all are 0 when none does."""
    counts = np.zeros(len(classes.classes))
    for label, n in votes.items():
        index = classes.class_index(label, None)
        if index is not None:
            counts[index] += n
    return counts / max(counts.sum(), 1)


def make_examples(
    ids: Sequence[str],
    by_id: Mapping[str, Utterance],
    inputs: Mapping[str, Mapping[str, np.ndarray]],
    classes: LabelSet,
    level: str,
    *,
    absent: Mapping[str, np.ndarray] | None = None,
    context: Sequence[str] = (),
    turns: bool = False,
    fitted: Mapping[str, FittedFeature] | None = None,
) -> list[Example]:
    """Examples of one part of a fold: an utterance each, or the part's utterances of a dialogue in order.

    Args:
        ids: Utterances of the part.
        by_id: All utterances.
        inputs: Modality to the inputs by id.
        classes: Classes of the labels.
        level: ``utterance`` or ``conversation``.
        absent: Modality to what stands for an input that is not in `inputs`; None: all of them are.
        context: Utterances that dialogues hold beside, without their labels.
        turns: Say who speaks.
        fitted: Features that are seen `in_dialogue`.
    """

    def rows(group: list[str]) -> dict[str, list[np.ndarray]]:
        if absent is None:
            return {m: [a[i] for i in group] for m, a in inputs.items()}
        return {m: [a.get(i, absent[m]) for i in group] for m, a in inputs.items()}

    def example(group: list[str]) -> Example:
        present = {m: np.array([i in a for i in group]) for m, a in inputs.items()}
        marked = None if all(there.all() for there in present.values()) else present
        labels = [classes.class_index(by_id[i].label, by_id[i].original_label) for i in group]
        target = np.array([IGNORE if y is None or i in unlabelled else y for i, y in zip(group, labels, strict=True)])
        if level == "conversation":
            speakers = [by_id[i].speaker for i in group]
            arrays = {m: np.stack(found) for m, found in rows(group).items()}
            arrays |= {m: f.in_dialogue(arrays[m], speakers, present[m]) for m, f in (fitted or {}).items()}
            who = speaker_turns(speakers) if turns else None
            return Example(tuple(group), target, arrays, turns=who, present=marked)
        (u,) = (by_id[i] for i in group)
        votes = None if u.votes is None else vote_shares(u.votes, classes)[None]
        return Example(tuple(group), target, {m: array for m, (array,) in rows(group).items()}, votes, present=marked)

    unlabelled = set(context) - set(ids)
    if level == "utterance":
        return [example([i]) for i in ids]
    dialogues: dict[str, list[str]] = {}
    for i in (*ids, *sorted(unlabelled)):
        dialogues.setdefault(by_id[i].dialogue or i, []).append(i)
    return [example(sorted(group, key=lambda i: by_id[i].index)) for group in dialogues.values()]


def feature_state(fitted: FittedFeature) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a checkpoint stores of a fitted feature: JSON values and arrays."""
    meta: dict[str, Any] = {"config": fitted.config.model_dump()}
    arrays: dict[str, np.ndarray] = {}
    if fitted.projection is not None:
        arrays |= {f"projection.{k}": v.astype(np.float32) for k, v in fitted.projection.to_arrays().items()}
    if isinstance(fitted.vectors, Subwords):  # its embeddings are the system's
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
    if config.kind == "subwords":
        index = {word: i for i, word in enumerate(meta["words"].split("\n"), start=1)}
        vectors = Subwords(index, config.n_grams, config.n_pairs)
    elif "words" in meta:
        index = {word: i for i, word in enumerate(meta["words"].split("\n"))}
        vectors = WordVectors(index, arrays["vectors"].astype(np.float32), meta["table"])
    if "text_cnn" in meta:
        text_cnn = TextCNN(make_config("text-cnn", **meta["text_cnn"]))
        text_cnn.load_state_dict({k: torch.from_numpy(v) for k, v in under("text_cnn.").items()})
    extractor = make_extractor(config.extractor, config.encoder) if config.kind == "extract" else None
    if extractor is not None and json.loads(json.dumps(dict(extractor.settings))) != meta["extractor_settings"]:
        raise ConfigError(
            f"{config.extractor}: not as it was in training; now {dict(extractor.settings)}, "
            f"then {meta['extractor_settings']}"
        )
    return FittedFeature(config, projection, vectors, text_cnn, extractor)
