"""What is at hand of an utterance, as the features of one checkpoint take it: windows, rows, vectors."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from emofuse.errors import DataError
from emofuse.features.extractor import Extractor
from emofuse.media.audio import MIN_SECONDS, SAMPLE_RATE
from emofuse.predictor.moments import OVERLAP_S, WINDOW_S, window_starts
from emofuse.protocol.feature import pool_rows, speech_array
from emofuse.protocol.fitted import FittedFeature
from emofuse.recording import Utterance

Features = Mapping[str, FittedFeature]


def hear(features: Features, waveform: np.ndarray | None) -> np.ndarray | None:
    """The speech extractor's rows of a clip; None where there is no sound, too little, or no such extractor."""
    feature = features.get("speech")
    extractor = None if feature is None else feature.extractor
    return None if extractor is None or waveform is None else or_none(extractor, waveform)


def windows(features: Features, u: Utterance) -> Iterator[tuple[slice, np.ndarray]]:
    """Samples and word indices of each window that the model sees at once."""
    every_word = np.arange(len(u.words))
    heard = u.waveform is not None and len(u.waveform) >= MIN_SECONDS * SAMPLE_RATE
    if "speech" not in features or not heard:
        for index in text_windows(features, u.words) or [every_word]:
            yield slice(0, 0), index
        return
    assert u.waveform is not None
    n_samples = len(u.waveform)
    window = round(min(features["speech"].config.max_s, WINDOW_S) * SAMPLE_RATE)
    middles = np.minimum(word_middles(u) * SAMPLE_RATE, n_samples)
    for start in window_starts(n_samples, window, round(OVERLAP_S * SAMPLE_RATE)):
        stop = min(start + window, n_samples)
        yield slice(start, stop), every_word[(start <= middles) & (middles <= stop)]


def text_windows(features: Features, words: Sequence[str]) -> list[np.ndarray]:
    """Indices of the words of each window of at most `max_words` tokens; none where the part reads no words."""
    feature = features.get("text")
    if feature is None or feature.vectors is None:
        return []
    most = feature.config.max_words
    n_tokens = np.cumsum([len(feature.vectors.encode(word, most)) for word in words])
    found, start, before = [], 0, 0
    while start < len(words):
        end = max(int(np.searchsorted(n_tokens, before + most, side="right")), start + 1)
        found.append(np.arange(start, end))
        start, before = end, int(n_tokens[end - 1])
    return found


def vectors_of(features: Features, u: Utterance, heard: np.ndarray | None) -> dict[str, np.ndarray] | None:
    """Modality to the one vector of an utterance that a contextual system sees; None where there is none."""
    arrays: dict[str, np.ndarray] = {}
    for modality, feature in features.items():
        if feature.vectors is not None:
            rows, _ = feature.vectors.encode_words(u.words)
            raw = rows[: feature.config.max_words] if len(rows) else None
        else:
            raw = extracted(feature, u, heard)
        if raw is not None:
            arrays[modality] = feature.transform([raw])[0]
    return arrays or None


def inputs_of(
    features: Features,
    u: Utterance,
    waveform: np.ndarray | None,
    word_index: np.ndarray,
    heard: np.ndarray | None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What there is of one window as a model's inputs, and which word each of its tokens is of.

    Args:
        features: The checkpoint's.
        u: The utterance.
        waveform: (n_samples,) of the window.
        word_index: Of its words.
        heard: The speech extractor's rows of it, if there is one.
    """
    arrays: dict[str, np.ndarray] = {}
    token_words = np.zeros(0, int)
    for modality, feature in features.items():
        if feature.extractor is not None:
            raw = extracted(feature, u, heard)
        elif modality == "speech":
            raw = None if waveform is None else speech_array(waveform, feature.config)
        elif modality == "visual":
            raw = u.faces
        else:
            assert feature.vectors is not None
            rows, index = feature.vectors.encode_words([u.words[i] for i in word_index])
            token_words = word_index[index[: feature.config.max_words]]
            # Where not one word is known, as in another language, there is no evidence at all.
            raw = rows[: feature.config.max_words] if len(rows) else None
        if raw is not None:
            arrays[modality] = feature.transform([raw])[0]
    return arrays, token_words


def extracted(feature: FittedFeature, u: Utterance, heard: np.ndarray | None) -> np.ndarray | None:
    """An extracted feature of an utterance as the model takes it; None where there is nothing to extract it from."""
    extractor = feature.extractor
    assert extractor is not None
    if extractor.modality == "speech":
        return None if heard is None else pool_rows(heard, feature.config)
    x = u.segment.text if extractor.modality == "text" else u.frames and u.frames(extractor.frame_rate or 5.0)
    if x is None or (extractor.modality == "text" and not u.words):
        return None
    rows = or_none(extractor, x)
    return None if rows is None else pool_rows(rows, feature.config)


def or_none(extractor: Extractor, x: Any) -> np.ndarray | None:
    """Features of an utterance; None where it is too short for it, or has no face in the picture."""
    try:
        return extractor(x)
    except DataError:
        return None


def cut(u: Utterance, samples: slice) -> np.ndarray | None:
    """The sound of a window; None without any."""
    return None if u.waveform is None or samples.stop == 0 else u.waveform[samples]


def word_middles(u: Utterance) -> np.ndarray:
    """(n_words,) seconds from the utterance's start; spread evenly where the times are not known."""
    length = u.segment.end_s - u.segment.start_s
    if u.timed_words:
        # A word that was heard in the pause before or after belongs to the first or last window.
        middles = np.array([(w.start_s + w.end_s) / 2 - u.segment.start_s for w in u.timed_words])
        return np.clip(middles, 0, length)
    n = len(u.words)
    return (np.arange(n) + 0.5) / max(n, 1) * length
