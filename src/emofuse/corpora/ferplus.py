"""FER+ (Barsoum et al. 2016): 35,714 grey faces of 48 × 48 pixels, ten votes each.

The label is the emotion with the most votes; None on a tie, or when "unknown" or "not a face" has
the most. `Utterance.votes` keeps all votes, `original_label` the column or columns that won.
"""

from collections import Counter
from pathlib import Path

from emofuse.corpora.tables import FIRST_ROW, check_unique_ids, parse_int, parse_name, read_rows
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import DataError

NAME = "ferplus"
LICENCE = "votes: MIT; images: research only"

LABELS = {
    "neutral": "neutral",
    "happiness": "happy",
    "surprise": "surprised",
    "sadness": "sad",
    "anger": "angry",
    "disgust": "disgusted",
    "fear": "fearful",
    "contempt": "contempt",
}
NO_EMOTION = ("unknown", "not_a_face")
VOTES = (*LABELS, *NO_EMOTION)
SPLITS = ("train", "dev", "test")

TILES_PER_SHEET = 1024
"""Faces of a contact sheet, 32 × 32, row-major."""

_MICROSOFT_TABLE = "fer2013new.csv"
_USAGES = {
    "Training": ("train", "FER2013Train"),
    "PublicTest": ("dev", "FER2013Valid"),
    "PrivateTest": ("test", "FER2013Test"),
}


def read(path: Path) -> Corpus:
    """Read FER+.

    Args:
        path: Folder of ``votes.csv`` and contact sheets ``sheet-00.png``, ...; or Microsoft's:
            ``fer2013new.csv`` and, beside it or in ``data``, the folders ``FER2013Train``,
            ``FER2013Valid`` and ``FER2013Test`` of one picture a face.

    Raises:
        DataError: A table, sheet or picture is missing, or a row is malformed.
    """
    if (path / "votes.csv").is_file():
        utterances = _read_sheets(path)
    elif (path / _MICROSOFT_TABLE).is_file():
        utterances = _read_pictures(path)
    else:
        raise DataError(f"{path}: neither votes.csv nor {_MICROSOFT_TABLE} here; need the folder that holds one")
    check_unique_ids(utterances, path)
    return Corpus(NAME, utterances, licence=LICENCE)


def _read_sheets(path: Path) -> tuple[Utterance, ...]:
    table = path / "votes.csv"
    rows = read_rows(table, ("id", "split", *VOTES))
    sheets = [path / f"sheet-{number:02d}.png" for number in range((len(rows) - 1) // TILES_PER_SHEET + 1)]
    for sheet in sheets:
        if not sheet.is_file():
            raise DataError(f"{sheet}: no such file; {len(rows)} rows in votes.csv need {len(sheets)} sheets")
    seen: Counter[str] = Counter()
    utterances: list[Utterance] = []
    for number, cells in enumerate(rows):
        row = number + FIRST_ROW
        seen[cells["id"]] += 1
        # FER2013 holds some pictures twice; four of the pairs share an id in the table, one with other votes.
        face_id = cells["id"] if seen[cells["id"]] == 1 else f"{cells['id']}-{seen[cells['id']]}"
        split = parse_name(cells["split"], SPLITS, table, row, "split")
        votes = _parse_votes(cells, table, row)
        utterances.append(
            _utterance(face_id, split, votes, sheets[number // TILES_PER_SHEET], number % TILES_PER_SHEET)
        )
    return tuple(utterances)


def _read_pictures(path: Path) -> tuple[Utterance, ...]:
    table = path / _MICROSOFT_TABLE
    folders = path / "data" if (path / "data").is_dir() else path
    utterances: list[Utterance] = []
    for row, cells in enumerate(read_rows(table, ("Usage", "Image name", *LABELS, "unknown", "NF")), start=FIRST_ROW):
        # Faces that FER+ took out of FER2013 keep their row but have no picture.
        if not cells["Image name"].strip():
            continue
        split, folder = _USAGES[parse_name(cells["Usage"], _USAGES, table, row, "Usage")]
        image = folders / folder / cells["Image name"]
        if not image.is_file():
            raise DataError(f"{table}: row {row}: no picture {image}; make it with FER+'s generate_training_data.py")
        votes = _parse_votes(cells | {"not_a_face": cells["NF"]}, table, row)
        utterances.append(_utterance(image.stem, split, votes, image, None))
    return tuple(utterances)


def _parse_votes(cells: dict[str, str], table: Path, row: int) -> dict[str, int]:
    votes = {column: parse_int(cells[column], table, row, column) for column in VOTES}
    if min(votes.values()) < 0:
        raise DataError(f"{table}: row {row}: a negative number of votes; need whole numbers from 0")
    return votes


def _utterance(face_id: str, split: str, votes: dict[str, int], image: Path, tile: int | None) -> Utterance:
    most = max(votes.values())
    winners = [column for column in VOTES if votes[column] == most]
    return Utterance(
        id=face_id,
        corpus=NAME,
        label=LABELS.get(winners[0]) if len(winners) == 1 else None,
        original_label=",".join(winners),
        split=split,
        image=image,
        tile=tile,
        votes={LABELS.get(column, column): count for column, count in votes.items()},
    )
