"""The feature pickles of MMSA for CMU-MOSI, CMU-MOSEI and CH-SIMS (``aligned_50.pkl`` and its kin).

A dict of splits, each with ``id`` (``video$_$clip``), ``raw_text``, ``text``, ``audio``, ``vision``
(n, steps, dim) and ``regression_labels``, whose sign is the sentiment. Speakers are not named.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.corpora.restricted_pickle import float_array, is_list, load_restricted
from emofuse.corpora.tables import check_unique_ids, in_dialogue_order
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import DataError

NAME = "mmsa-pickle"
LICENCE = "as the corpus it was made from (CMU-MOSI, CMU-MOSEI, CH-SIMS: research only)"
SPLITS = {"train": "train", "valid": "dev", "test": "test"}
FEATURE_FIELDS = {"speech": "audio", "visual": "vision", "text": "text"}
SEPARATOR = "$_$"

_FIELDS = ("id", "raw_text", "text", "audio", "vision", "regression_labels")


def read(path: Path) -> Corpus:
    """Read the pickle; only containers and numpy arrays are admitted in it.

    Audio arrays of the published files hold -inf where the logarithm of silence was taken; such
    values become NaN, "could not be measured". Anywhere else they are an error.

    Raises:
        DataError: The file has another layout, or its fields contradict each other.
    """
    content = load_restricted(path)
    if not isinstance(content, Mapping) or any(split not in content for split in SPLITS):
        raise DataError(f"{path}: {_shown(content)}; need a dict of {', '.join(SPLITS)}")
    utterances: list[Utterance] = []
    parts: dict[str, list[np.ndarray]] = {modality: [] for modality in FEATURE_FIELDS}
    for split in SPLITS:
        fields = _fields(content[split], split, path)
        utterances += _utterances(fields, split, len(utterances), path)
        for modality, name in FEATURE_FIELDS.items():
            parts[modality].append(_features(fields, name, split, path))
    check_unique_ids(utterances, path)
    return Corpus(
        NAME,
        in_dialogue_order(utterances, path),
        features={modality: _concatenate(arrays, FEATURE_FIELDS[modality], path) for modality, arrays in parts.items()},
        nan_allowed=("speech",),
        licence=LICENCE,
    )


def _shown(content: Any) -> str:
    return f"dict of {', '.join(map(str, content))[:80]}" if isinstance(content, Mapping) else type(content).__name__


def _fields(fields: Any, split: str, path: Path) -> Mapping[str, Any]:
    if not isinstance(fields, Mapping) or any(name not in fields for name in _FIELDS):
        raise DataError(f"{path}: {split}: {_shown(fields)}; need a dict of {', '.join(_FIELDS)}")
    for name in _FIELDS:
        values = fields[name]
        if not is_list(values):
            raise DataError(f"{path}: {split}: {name} is a {type(values).__name__}; need a list or an array")
        if len(fields[name]) != len(fields["id"]):
            raise DataError(f"{path}: {split}: {len(fields[name])} rows of {name}; need {len(fields['id'])} as of id")
    return fields


def _utterances(fields: Mapping[str, Any], split: str, first_row: int, path: Path) -> list[Utterance]:
    labels = float_array(fields["regression_labels"], f"{path}: {split}: regression_labels")
    if labels.ndim != 1:
        raise DataError(f"{path}: {split}: regression_labels has shape {labels.shape}; need one number a row")
    rows = zip(fields["id"], fields["raw_text"], labels, strict=True)
    return [
        _utterance(str(utterance_id), str(text), float(score), split, first_row + row, f"{path}: {split} row {row}")
        for row, (utterance_id, text, score) in enumerate(rows)
    ]


def _utterance(utterance_id: str, text: str, score: float, split: str, feature_row: int, where: str) -> Utterance:
    video, separator, clip = utterance_id.rpartition(SEPARATOR)
    if not separator or not video or not clip.isdecimal():
        raise DataError(f"{where}: id is {utterance_id!r}; need the form video{SEPARATOR}3")
    if not np.isfinite(score):
        raise DataError(f"{where}: regression label of {utterance_id} is {score}; need a finite number")
    return Utterance(
        id=utterance_id,
        corpus=NAME,
        label="positive" if score > 0 else "negative" if score < 0 else "neutral",
        original_label=f"{score:g}",
        dialogue=video,
        index=int(clip),
        split=SPLITS[split],
        text=text.strip() or None,
        features=dict.fromkeys(FEATURE_FIELDS, feature_row),
    )


def _features(fields: Mapping[str, Any], name: str, split: str, path: Path) -> np.ndarray:
    """One split's arrays of one field: (n, steps, dim), or (n, dim) where clips have one vector."""
    array = float_array(fields[name], f"{path}: {split}: {name}")
    if array.ndim not in (2, 3):
        raise DataError(f"{path}: {split}: {name} has shape {array.shape}; need (n, steps, dim)")
    finite = np.isfinite(array)
    if name == FEATURE_FIELDS["speech"]:
        array[~finite] = np.nan
    elif not finite.all():
        row = int(np.argwhere(~finite)[0, 0])
        raise DataError(f"{path}: {split} row {row}: {name} of {fields['id'][row]} holds NaN or infinity")
    return array


def _concatenate(arrays: list[np.ndarray], name: str, path: Path) -> np.ndarray:
    shapes = sorted({array.shape[1:] for array in arrays})
    if len(shapes) > 1:
        raise DataError(
            f"{path}: {name} has rows of shape {shapes[0]} and of {shapes[1]}; need one shape in all splits"
        )
    return np.concatenate(arrays)
