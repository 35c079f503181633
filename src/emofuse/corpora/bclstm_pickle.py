"""The IEMOCAP feature pickle of bc-LSTM, DialogueRNN and those after them (``IEMOCAP_features.pkl``).

A tuple of nine: ``(videoIDs, videoSpeakers, videoLabels, videoText, videoAudio, videoVisual,
videoSentence, trainVid, testVid)``; the first seven are keyed by dialogue. Its "happy" holds the 53
utterances without annotator agreement and does not say which they are, so four-class counts made of
it are 5584, not 5531. Its text features were trained with labels of the whole corpus.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.corpora.iemocap import LABELS, LICENCE, SEXES, session_of
from emofuse.corpora.restricted_pickle import float_array, is_list, load_restricted
from emofuse.corpora.tables import check_unique_ids
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import DataError

NAME = "bclstm-pickle"
FIELDS = (
    "videoIDs",
    "videoSpeakers",
    "videoLabels",
    "videoText",
    "videoAudio",
    "videoVisual",
    "videoSentence",
    "trainVid",
    "testVid",
)
CODES = ("hap", "sad", "neu", "ang", "exc", "fru")
"""IEMOCAP's code of each label number."""

FEATURE_FIELDS = {"speech": "videoAudio", "visual": "videoVisual", "text": "videoText"}


def read(path: Path) -> Corpus:
    """Read the pickle; only containers and numpy arrays are admitted in it.

    Raises:
        DataError: The file has another layout, or its fields contradict each other.
    """
    fields = _fields(load_restricted(path), path)
    splits = _splits(fields, path)
    utterances: list[Utterance] = []
    rows: dict[str, list[np.ndarray]] = {modality: [] for modality in FEATURE_FIELDS}
    for dialogue in fields["videoIDs"]:
        first_row = len(utterances)
        utterances += _dialogue(fields, dialogue, splits.get(dialogue), first_row, path)
        for modality, name in FEATURE_FIELDS.items():
            rows[modality].append(_features(fields, name, dialogue, path))
    check_unique_ids(utterances, path)
    features = {modality: _stack(parts, FEATURE_FIELDS[modality], path) for modality, parts in rows.items()}
    return Corpus(NAME, tuple(utterances), features=features, licence=LICENCE)


def _fields(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, (tuple, list)) or len(content) != len(FIELDS):
        found = f"{type(content).__name__} of {len(content)}" if hasattr(content, "__len__") else type(content).__name__
        raise DataError(f"{path}: {found}; need the tuple of {len(FIELDS)}: {', '.join(FIELDS)}")
    fields: dict[str, Any] = dict(zip(FIELDS, content, strict=True))
    for name in FIELDS[:7]:
        if not isinstance(fields[name], Mapping):
            raise DataError(f"{path}: {name} is a {type(fields[name]).__name__}; need a dict keyed by dialogue")
    for name in FIELDS[7:]:
        if not isinstance(fields[name], (list, tuple, set, frozenset, np.ndarray)):
            raise DataError(f"{path}: {name} is a {type(fields[name]).__name__}; need a list or set of dialogues")
    if not fields["videoIDs"] or not all(is_list(ids) for ids in fields["videoIDs"].values()):
        raise DataError(f"{path}: videoIDs is empty or holds no lists; need a list of ids a dialogue")
    return fields


def _splits(fields: Mapping[str, Any], path: Path) -> dict[str, str]:
    train, test = ({str(dialogue) for dialogue in fields[name]} for name in ("trainVid", "testVid"))
    both = sorted(train & test)
    if both:
        raise DataError(f"{path}: dialogue {both[0]} is in trainVid and in testVid; need it in one of them")
    unknown = sorted((train | test) - fields["videoIDs"].keys())
    if unknown:
        raise DataError(f"{path}: dialogue {unknown[0]} of trainVid or testVid is not in videoIDs")
    return dict.fromkeys(train, "train") | dict.fromkeys(test, "test")


def _dialogue(
    fields: Mapping[str, Any], dialogue: str, split: str | None, first_row: int, path: Path
) -> list[Utterance]:
    session = session_of(str(dialogue), str(path))
    ids, speakers, labels, sentences = (
        _of_dialogue(fields, name, dialogue, path)
        for name in ("videoIDs", "videoSpeakers", "videoLabels", "videoSentence")
    )
    utterances = []
    for index, (utterance_id, letter, number, sentence) in enumerate(
        zip(ids, speakers, labels, sentences, strict=True)
    ):
        if not isinstance(letter, str) or letter not in SEXES:
            raise DataError(f"{path}: utterance {utterance_id}: speaker is {letter!r}; need 'F' or 'M'")
        code = _code(number, f"{path}: utterance {utterance_id}")
        utterances.append(
            Utterance(
                id=str(utterance_id),
                corpus=NAME,
                label=LABELS[code],
                original_label=code,
                dialogue=dialogue,
                index=index,
                speaker=session + letter,
                session=session,
                sex=SEXES[letter],
                split=split,
                text=str(sentence).strip() or None,
                features=dict.fromkeys(FEATURE_FIELDS, first_row + index),
            )
        )
    return utterances


def _of_dialogue(fields: Mapping[str, Any], name: str, dialogue: str, path: Path) -> list[Any]:
    """A dialogue's values of one field, as many as it has ids."""
    values, ids = fields[name].get(dialogue), fields["videoIDs"][dialogue]
    if not is_list(values):
        raise DataError(f"{path}: dialogue {dialogue}: {name} is a {type(values).__name__}; need a list or array")
    if len(values) != len(ids):
        raise DataError(
            f"{path}: dialogue {dialogue}: {name} has {len(values)} values; need {len(ids)}, one an utterance"
        )
    return list(values)


def _code(number: Any, where: str) -> str:
    if not isinstance(number, (int, np.integer)) or not 0 <= number < len(CODES):
        raise DataError(f"{where}: label is {number!r}; need 0 to {len(CODES) - 1}, for {', '.join(CODES)}")
    return CODES[number]


def _features(fields: Mapping[str, Any], name: str, dialogue: str, path: Path) -> np.ndarray:
    """A dialogue's vectors of one field: (n_utterances, dim)."""
    ids, values = fields["videoIDs"][dialogue], _of_dialogue(fields, name, dialogue, path)
    array = float_array(values, f"{path}: dialogue {dialogue}: {name}")
    if array.ndim != 2:
        raise DataError(f"{path}: dialogue {dialogue}: {name} has shape {array.shape}; need one vector an utterance")
    broken = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if broken.size:
        raise DataError(f"{path}: utterance {ids[broken[0]]}: {name} holds NaN or infinity; need finite numbers")
    return array


def _stack(parts: Sequence[np.ndarray], name: str, path: Path) -> np.ndarray:
    sizes = sorted({part.shape[1] for part in parts})
    if len(sizes) > 1:
        raise DataError(f"{path}: {name} has vectors of {sizes[0]} and of {sizes[1]} numbers; need one size")
    return np.concatenate(parts)
