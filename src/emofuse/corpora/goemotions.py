"""GoEmotions (Demszky et al. 2020): 54,263 English Reddit comments, 27 emotions and neutral, multi-label.

A comment with one label keeps it, under the name that `labels.GOEMOTIONS` gives it where there is
one; a comment with several has `Utterance.label` None, all its names in `original_label` and a vote for each in
`Utterance.votes`.
"""

from collections import Counter
from pathlib import Path

from emofuse.corpora.tables import check_unique_ids, read_text
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import DataError
from emofuse.labels import GOEMOTIONS

NAME = "goemotions"
SPLITS = ("train", "dev", "test")
N_COLUMNS = 3

NAMES = (
    "admiration",
    "amusement",
    "anger",
    "annoyance",
    "approval",
    "caring",
    "confusion",
    "curiosity",
    "desire",
    "disappointment",
    "disapproval",
    "disgust",
    "embarrassment",
    "excitement",
    "fear",
    "gratitude",
    "grief",
    "joy",
    "love",
    "nervousness",
    "optimism",
    "pride",
    "realization",
    "relief",
    "remorse",
    "sadness",
    "surprise",
    "neutral",
)
"""The corpus' own 28 names."""


def read(path: Path) -> Corpus:
    """Read GoEmotions.

    Args:
        path: Folder of ``train.tsv``, ``dev.tsv``, ``test.tsv`` (comment, comma-separated label ids,
            comment id; no header) and ``labels.txt`` (a name a line).

    Raises:
        DataError: A file is missing or a row is malformed.
    """
    names = _label_names(path / "labels.txt")
    utterances = tuple(
        _utterance(line, names, split, path / f"{split}.tsv", row)
        for split in SPLITS
        for row, line in enumerate(_lines(path / f"{split}.tsv"), start=1)
    )
    check_unique_ids(utterances, path)
    return Corpus(NAME, utterances, licence="Apache-2.0")


def _lines(path: Path) -> list[str]:
    # Not splitlines(): comments may hold U+2028 and its kin, which end no row.
    lines = read_text(path).replace("\r\n", "\n").removesuffix("\n").split("\n")
    if lines == [""]:
        raise DataError(f"{path}: empty; need at least one row")
    return lines


def _label_names(path: Path) -> list[str]:
    names = [line.strip() for line in _lines(path)]
    for row, name in enumerate(names, start=1):
        if name not in NAMES:
            raise DataError(f"{path}: row {row}: unknown label {name!r}; known: {', '.join(NAMES)}")
    return names


def _utterance(line: str, names: list[str], split: str, path: Path, row: int) -> Utterance:
    cells = line.split("\t")
    if len(cells) != N_COLUMNS:
        raise DataError(f"{path}: row {row}: {len(cells)} cells, need text, label ids and comment id between tabs")
    text, label_ids, comment_id = cells
    if not text.strip() or not comment_id:
        raise DataError(f"{path}: row {row}: empty {'text' if comment_id else 'comment id'}; need text, labels and id")
    originals = [_label_name(value, names, path, row) for value in label_ids.split(",")]
    labels = [GOEMOTIONS.get(name, name) for name in originals]
    return Utterance(
        id=comment_id,
        corpus=NAME,
        label=labels[0] if len(labels) == 1 else None,
        original_label=",".join(originals),
        split=split,
        text=text,
        votes=Counter(labels),
    )


def _label_name(value: str, names: list[str], path: Path, row: int) -> str:
    if not value.isdecimal() or int(value) >= len(names):
        raise DataError(f"{path}: row {row}: label id {value!r}; need whole numbers from 0 to {len(names) - 1}")
    return names[int(value)]
