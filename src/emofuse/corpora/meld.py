"""MELD, the raw release: scenes of the series Friends, a clip (mp4) an utterance.

Layout: ``{train,dev,test}_sent_emo.csv`` in the root or in ``data/MELD``, and the clips
``dia<D>_utt<U>.mp4`` in ``train_splits``, ``dev_splits_complete`` and ``output_repeated_splits_test``.
Dialogue numbers start anew in each split, so ids here carry the split's name.
"""

import re
from pathlib import Path

from emofuse.corpora.tables import FIRST_ROW, check_unique_ids, in_dialogue_order, parse_int, parse_name, read_rows
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import DataError

NAME = "meld"
LICENCE = "annotations GPL-3.0; the clips are the series' owners'"
LABELS = {
    "anger": "angry",
    "disgust": "disgusted",
    "fear": "fearful",
    "joy": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprise": "surprised",
}
CLIP_FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
BROKEN_CLIPS = frozenset({("train", "dia125_utt3"), ("dev", "dia110_utt7")})
"""Clips that the release lacks or that hold no sound; their utterances have words only."""

_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID", "StartTime", "EndTime")
_TIME = re.compile(r"(\d+):(\d\d):(\d\d),(\d{3})")


def read(path: Path) -> Corpus:
    """Read the release.

    Clips are named where their split's folder is there; that each exists is for a check of the
    corpus to say.

    Args:
        path: Root of the release (or of the project's repository, with ``data/MELD``).

    Raises:
        DataError: A table is missing or malformed.
    """
    nested = path / "data" / "MELD"
    folder = nested if nested.is_dir() else path
    utterances: list[Utterance] = []
    for split, clip_folder in CLIP_FOLDERS.items():
        places = (place / clip_folder for place in (path, folder))
        clips = next((place for place in places if place.is_dir()), None)
        utterances += _read_split(folder / f"{split}_sent_emo.csv", split, clips)
    check_unique_ids(utterances, folder)
    return Corpus(NAME, in_dialogue_order(utterances, folder), licence=LICENCE)


def _read_split(file: Path, split: str, clips: Path | None) -> list[Utterance]:
    # The tables went through Windows programs: some copies are cp1252, not UTF-8.
    rows = read_rows(file, _COLUMNS, fallback_encoding="cp1252")
    return [_utterance(cells, file, row, split, clips) for row, cells in enumerate(rows, start=FIRST_ROW)]


def _utterance(cells: dict[str, str], file: Path, row: int, split: str, clips: Path | None) -> Utterance:
    dialogue = parse_int(cells["Dialogue_ID"], file, row, "Dialogue_ID")
    index = parse_int(cells["Utterance_ID"], file, row, "Utterance_ID")
    code = parse_name(cells["Emotion"], LABELS, file, row, "Emotion")
    name = f"dia{dialogue}_utt{index}"
    clip = None if clips is None or (split, name) in BROKEN_CLIPS else clips / f"{name}.mp4"
    return Utterance(
        id=f"{split}_{name}",
        corpus=NAME,
        label=LABELS[code],
        original_label=code,
        dialogue=f"{split}-dia{dialogue}",
        index=index,
        speaker=repair(cells["Speaker"]).strip() or None,
        split=split,
        start_s=_seconds(cells["StartTime"], file, row, "StartTime"),
        end_s=_seconds(cells["EndTime"], file, row, "EndTime"),
        text=repair(cells["Utterance"]).strip() or None,
        audio=clip,
        video=clip,
    )


def repair(text: str) -> str:
    """Text with the quotes and dashes back that the tables' way through cp1252 broke.

    >>> repair("company\\x92s"), repair("companyâ€™s")
    ('company’s', 'company’s')
    """
    if "â€" in text:
        try:
            return text.encode("cp1252").decode("utf-8")
        except UnicodeError:
            # Only some of its characters went wrong; the control characters below still can be mended.
            pass
    return "".join(_from_control(character) for character in text)


def _from_control(character: str) -> str:
    """The cp1252 character whose byte was kept as a control character, U+0080 to U+009F."""
    if not "\x80" <= character <= "\x9f":
        return character
    return character.encode("latin-1").decode("cp1252", errors="ignore")


def _seconds(value: str, file: Path, row: int, column: str) -> float:
    match = _TIME.fullmatch(value.strip())
    if match is None:
        raise DataError(f"{file}: row {row}: {column} is {value!r}; need the form 00:16:16,059")
    hours, minutes, seconds, milliseconds = (int(part) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
