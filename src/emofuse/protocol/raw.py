"""What a modality of a corpus gives before anything is fitted: the same in every fold, read or computed once."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
from safetensors.torch import load_file

from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import ConfigError, DataError
from emofuse.extraction import extract, load_features
from emofuse.extraction.decoded import Clip, decoded
from emofuse.extractors import make_extractor
from emofuse.features import hub
from emofuse.features.extractor import Extractor
from emofuse.features.lexical import WordVectors, load_word_vectors, tokenize
from emofuse.features.store import FeatureStore
from emofuse.features.wordpieces import SPECIAL, WordPieces, choose_pieces
from emofuse.media.audio import read_audio
from emofuse.media.image import read_face
from emofuse.models.minilm import rename_bert
from emofuse.progress import progress
from emofuse.protocol.feature import FeatureConfig, extractors_of, gain, pool_rows, speech_array, speech_steps
from emofuse.protocol.presence import lacking


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
    with ExitStack() as stack:
        folder = store or Path(stack.enter_context(TemporaryDirectory()))
        features = stack.enter_context(FeatureStore(folder))
        found = [_looked_up(utterances, corpus, modality, one, features) for one in extractors_of(config)]
    if len(found) > 1:
        return {i: np.concatenate([part[i] for part in found]) for i in found[0]}
    return {i: pool_rows(array, config) for i, array in found[0].items()}


def _looked_up(
    utterances: Sequence[Utterance], corpus: Corpus, modality: str, name: tuple[str, str | None], store: FeatureStore
) -> Mapping[str, np.ndarray]:
    make = partial(make_extractor, *name)
    extractor = make()
    if extractor.modality != modality:
        raise ConfigError(f"features.{modality}: {name[0]} is a feature of {extractor.modality}")
    table = store.table(extractor).folder.name
    try:
        return load_features(store, table, utterances)
    except DataError:  # not all of them are there yet
        _extract_missing(utterances, corpus, make, store)
        return load_features(store, table, utterances)


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


def load_wordpieces(config: FeatureConfig, texts: Sequence[str]) -> WordPieces:
    """The pieces of a BERT that the corpus is best spelt with, and its weights, for training to start from.

    Raises:
        ConfigError: The encoder cannot be had.
        DataError: It is not a BERT with ``vocab.txt``.
    """
    assert config.encoder is not None
    folder = hub.fetch(config.encoder)
    try:
        vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        start = rename_bert(load_file(folder / "model.safetensors"))
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise DataError(f"{config.encoder}: not a BERT with vocab.txt and model.safetensors: {error}") from None
    index = {piece: i for i, piece in enumerate(vocabulary) if piece}
    if lost := [piece for piece in SPECIAL if piece not in index]:
        raise DataError(f"{config.encoder}: vocab.txt has no {lost[0]}, need a BERT's")
    kept = choose_pieces(index, texts, config.vocabulary_size)
    start["pieces.weight"] = start["pieces.weight"][[index[piece] for piece in kept]]
    start["positions.weight"] = start["positions.weight"][: config.max_words + 2]
    return WordPieces({piece: i for i, piece in enumerate(kept)}, {k: v.numpy() for k, v in start.items()})


@dataclass(frozen=True)
class RawInput:
    """What one modality gives before anything is fitted: the same in every fold.

    Attributes:
        arrays: Utterance id to array.
        vectors: The word vectors or the vocabulary it was made with, where it has any.
        lacks: Utterance id to why it has no array.
    """

    arrays: dict[str, np.ndarray]
    vectors: WordVectors | WordPieces | None = None
    lacks: Mapping[str, str] = field(default_factory=dict)


def _raw_array(
    u: Utterance, corpus: Corpus, modality: str, config: FeatureConfig, words: WordVectors | WordPieces | None
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
    return speech_array(read_audio(*_clip(u)), config)


def _clip(u: Utterance) -> Clip:
    path = u.audio or u.video
    assert path is not None
    return Clip(path, u.media_start_s, u.media_end_s)


def _from_decoded(
    utterances: Sequence[Utterance], corpus: Corpus, config: FeatureConfig, folder: Path
) -> dict[str, np.ndarray]:
    """Waveforms that stay on disk until a batch is made of them, or what is computed of them."""
    with progress(transient=True) as bar:
        task = bar.add_task("decoding speech", total=len(utterances))
        clips = [_clip(u) for u in utterances]
        waveforms = decoded(clips, folder, corpus.name, config.max_s, lambda: bar.advance(task))
    at_level = [waveform.times(gain(waveform.rms, config)) for waveform in waveforms]
    if config.kind == "waveform":
        # All that training does with one it does as with an array: ask for its length, cut it, copy it into a batch.
        return {u.id: cast(np.ndarray, w) for u, w in zip(utterances, at_level, strict=True)}
    return {u.id: speech_steps(np.asarray(w), config) for u, w in zip(utterances, at_level, strict=True)}


def read_raw(
    utterances: Sequence[Utterance],
    corpus: Corpus,
    modality: str,
    config: FeatureConfig,
    vectors: WordVectors | WordPieces | None,
    store: Path | None = None,
    audio: Path | None = None,
) -> dict[str, np.ndarray]:
    """One modality of many utterances, by id; shows its progress on stderr where files are read.

    Utterances that have nothing to make it of, see `lacking`, are left out. `store` and `audio` as `load_raw` has them.

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
    if audio is not None and config.kind in ("waveform", "spectrogram"):
        return _from_decoded(utterances, corpus, config, audio)
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
    utterances: Sequence[Utterance],
    corpus: Corpus,
    modality: str,
    config: FeatureConfig,
    store: Path | None = None,
    audio: Path | None = None,
) -> RawInput:
    """Read and compute everything that is the same in every fold; errors as `read_raw`, or if nothing has the modality.

    Extracted features are looked up in the feature store `store`, and added to it; None: computed for this time.
    Decoded sound is kept in the folder `audio`, see `emofuse.extraction.decoded`; None: in memory.
    """
    lacks = lacking(utterances, modality, config.kind)
    if len(lacks) == len(utterances):
        others = f", nor has any other of {len(lacks)}" if len(lacks) > 1 else ""
        raise DataError(f"{corpus.name}: utterance {utterances[0].id} {lacks[utterances[0].id]}{others}")
    vectors = None
    if config.kind in ("words", "text-cnn", "wordpieces"):
        load = load_wordpieces if config.kind == "wordpieces" else load_vectors
        vectors = load(config, [u.text for u in utterances if u.text])
    return RawInput(read_raw(utterances, corpus, modality, config, vectors, store, audio), vectors, lacks)
