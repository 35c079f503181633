"""What a corpus holds, and what in it cannot be right."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from emofuse.corpora.goemotions import NAMES as GOEMOTIONS_NAMES
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.labels import EMOTIONS, GOEMOTIONS, SENTIMENTS

KNOWN_LABELS = tuple(
    dict.fromkeys((*EMOTIONS, *SENTIMENTS, *(GOEMOTIONS.get(name, name) for name in GOEMOTIONS_NAMES)))
)
"""Every name that may stand in `Utterance.label`."""

SPLITS = ("train", "dev", "test")
SEXES = ("female", "male")
MAX_LISTED = 20
"""Problems of one kind that are listed one by one; the rest are counted."""


def summarise(corpus: Corpus) -> dict[str, object]:
    """Counts, ready for JSON: total, per label, speaker, session and split, dialogues, features.

    Utterances that have no label (speaker, ...) are counted under ``none``.
    """
    utterances = corpus.utterances
    return {
        "corpus": corpus.name,
        "licence": corpus.licence,
        "utterances": len(utterances),
        "dialogues": len({u.dialogue for u in utterances if u.dialogue is not None}),
        "labels": _count(u.label for u in utterances),
        "speakers": _count(u.speaker for u in utterances),
        "sessions": _count(u.session for u in utterances),
        "splits": _count(u.split for u in utterances),
        "with_text": sum(u.text is not None for u in utterances),
        "with_audio": sum(u.audio is not None for u in utterances),
        "with_video": sum(u.video is not None for u in utterances),
        "with_image": sum(u.image is not None for u in utterances),
        "features": {
            modality: {"shape": list(array.shape), "utterances": sum(modality in u.features for u in utterances)}
            for modality, array in corpus.features.items()
        },
    }


def _count(values: Iterable[str | None]) -> dict[str, int]:
    counts = Counter("none" if value is None else value for value in values)
    return dict(sorted(counts.items()))


def find_problems(corpus: Corpus) -> list[str]:
    """Inconsistencies, each one line that names the utterance; empty when all is well.

    At most `MAX_LISTED` of a kind are listed, then a line says how many more there are.
    """
    kinds = (
        ("duplicate ids", _duplicate_ids(corpus.utterances)),
        ("indices out of order", _disordered(corpus.utterances)),
        ("dialogues in two splits", _split_dialogues(corpus.utterances)),
        ("unknown names", _unknown_names(corpus.utterances)),
        ("bad times", _bad_times(corpus.utterances)),
        ("empty texts", _empty_texts(corpus.utterances)),
        ("missing media files", _missing_media(corpus.utterances)),
        ("bad feature rows", _bad_features(corpus)),
    )
    problems = [] if corpus.utterances else [f"{corpus.name}: no utterances"]
    for kind, lines in kinds:
        found = list(lines)
        problems += found[:MAX_LISTED]
        if len(found) > MAX_LISTED:
            problems.append(f"{corpus.name}: {len(found) - MAX_LISTED} more {kind}")
    return problems


def _duplicate_ids(utterances: Sequence[Utterance]) -> Iterator[str]:
    for utterance_id, count in Counter(u.id for u in utterances).items():
        if count > 1:
            yield f"{utterance_id}: {count} utterances have this id"


def _disordered(utterances: Sequence[Utterance]) -> Iterator[str]:
    previous: dict[str, Utterance] = {}
    for u in utterances:
        if u.dialogue is None:
            continue
        before = previous.get(u.dialogue)
        if before is not None and u.index <= before.index:
            yield f"{u.id}: index {u.index} of dialogue {u.dialogue} follows index {before.index} ({before.id})"
        previous[u.dialogue] = u


def _split_dialogues(utterances: Sequence[Utterance]) -> Iterator[str]:
    first: dict[str, Utterance] = {}
    reported: set[str] = set()
    for u in utterances:
        if u.dialogue is None or u.dialogue in reported:
            continue
        other = first.setdefault(u.dialogue, u)
        if other.split != u.split:
            reported.add(u.dialogue)
            yield f"{u.id}: dialogue {u.dialogue} is in split {u.split}, but {other.id} of it in {other.split}"


def _unknown_names(utterances: Sequence[Utterance]) -> Iterator[str]:
    for u in utterances:
        names = (("label", u.label, KNOWN_LABELS), ("split", u.split, SPLITS), ("sex", u.sex, SEXES))
        for column, name, known in names:
            if name is not None and name not in known:
                yield f"{u.id}: unknown {column} {name!r}; known: {', '.join(known)}"


def _bad_times(utterances: Sequence[Utterance]) -> Iterator[str]:
    for u in utterances:
        pairs = (
            ("", u.start_s, u.end_s),
            ("media_", u.media_start_s, u.media_end_s),
            ("video_", u.video_start_s, u.video_end_s),
        )
        for prefix, start, end in pairs:
            given = [time for time in (start, end) if time is not None]
            if not all(math.isfinite(time) and time >= 0 for time in given):
                yield f"{u.id}: {prefix}start_s {start}, {prefix}end_s {end}; need finite times from 0 s"
            elif start is not None and end is not None and end <= start:
                yield f"{u.id}: {prefix}end_s {end} is not after {prefix}start_s {start}"


def _empty_texts(utterances: Sequence[Utterance]) -> Iterator[str]:
    for u in utterances:
        if u.text is not None and not u.text.strip():
            yield f"{u.id}: empty text; an unknown text is None"


def _missing_media(utterances: Sequence[Utterance]) -> Iterator[str]:
    # Many utterances may share a file (a dialogue's recording, a contact sheet): look once.
    exists: dict[Path, bool] = {}
    for u in utterances:
        for part, file in (("audio", u.audio), ("video", u.video), ("image", u.image)):
            if file is None:
                continue
            if file not in exists:
                exists[file] = file.is_file()
            if not exists[file]:
                yield f"{u.id}: no {part} file {file}"


def _bad_features(corpus: Corpus) -> Iterator[str]:
    faults = {
        modality: _faulty_rows(array, modality in corpus.nan_allowed) for modality, array in corpus.features.items()
    }
    for u in corpus.utterances:
        for modality, row in u.features.items():
            if modality not in corpus.features:
                yield f"{u.id}: row {row} of {modality} features, but the corpus has none"
            elif not 0 <= row < len(corpus.features[modality]):
                yield f"{u.id}: row {row} of {modality} features; there are {len(corpus.features[modality])} rows"
            elif row in faults[modality]:
                yield f"{u.id}: {modality} features hold {faults[modality][row]}"


def _faulty_rows(array: np.ndarray, nan_allowed: bool) -> Mapping[int, str]:
    """Row to what it should not hold."""
    rows = array.reshape(len(array), -1)
    infinite = np.flatnonzero(np.isinf(rows).any(axis=1))
    faults = {int(row): "infinity" for row in infinite}
    if not nan_allowed:
        faults |= {int(row): "NaN" for row in np.flatnonzero(np.isnan(rows).any(axis=1))}
    return faults
