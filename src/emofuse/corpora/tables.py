"""Tables and text files of a corpus: read, and refused with file and row when they are not what they should be.

A row number is the one that an editor or spreadsheet shows: the header is row 1, the first
utterance row 2 (`FIRST_ROW`). Blank lines are skipped and not counted.
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from emofuse.corpora.utterance import Utterance
from emofuse.errors import DataError

FIRST_ROW = 2
"""Number of a table's first row below its header: ``enumerate(rows, start=FIRST_ROW)``."""


def locate(path: Path, file_name: str) -> Path:
    """The file itself, whether `path` names it or the folder that holds it.

    Raises:
        DataError: There is no such file.
    """
    found = path / file_name if path.is_dir() else path
    if not found.is_file():
        raise DataError(f"{found}: no such file; give the corpus' folder or its {file_name}")
    return found


def read_text(path: Path, fallback_encoding: str | None = None) -> str:
    """Text of a UTF-8 file, with or without a byte order mark.

    Args:
        path: File to read.
        fallback_encoding: How to read a file that is not UTF-8; None refuses it.

    Raises:
        DataError: The file is missing or holds bytes that are not UTF-8 (the message names the row).
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if fallback_encoding is not None:
            return content.decode(fallback_encoding, errors="replace")
        # `error.object` is what was left after the byte order mark, which holds no line end.
        row = error.object[: error.start].count(b"\n") + 1
        byte = error.object[error.start]
        raise DataError(f"{path}: row {row}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8") from None


def read_rows(
    path: Path, required: Sequence[str], delimiter: str = ",", fallback_encoding: str | None = None
) -> list[dict[str, str]]:
    """Rows of a table with a header, as column name to cell.

    Args:
        path: UTF-8 file, with or without a byte order mark.
        required: Columns that must be there; others are read too.
        delimiter: Character between cells.
        fallback_encoding: How to read a file that is not UTF-8; None refuses it.

    Raises:
        DataError: The file is missing, empty, not UTF-8 or not a table, or a column is missing.
    """
    reader = csv.reader(io.StringIO(read_text(path, fallback_encoding), newline=""), delimiter=delimiter, strict=True)
    rows: list[dict[str, str]] = []
    header: list[str] = []
    try:
        for cells in reader:
            if not cells:
                continue
            if not header:
                header = _checked_header(cells, path, required)
                continue
            if len(cells) != len(header):
                row = len(rows) + FIRST_ROW
                raise DataError(f"{path}: row {row}: {len(cells)} cells, need {len(header)} as in the header")
            rows.append(dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise DataError(f"{path}: row {len(rows) + FIRST_ROW}: not a readable table ({error})") from None
    if not rows:
        raise DataError(f"{path}: no rows; need a header and at least one row")
    return rows


def _checked_header(cells: list[str], path: Path, required: Sequence[str]) -> list[str]:
    missing = [name for name in required if name not in cells]
    if missing:
        raise DataError(f"{path}: row 1: no column {', '.join(missing)}; found {', '.join(cells)}")
    if len(set(cells)) != len(cells):
        twice = next(name for name in cells if cells.count(name) > 1)
        raise DataError(f"{path}: row 1: column {twice!r} appears twice; need each name once")
    return cells


def parse_float(value: str, path: Path, row: int, column: str) -> float:
    """Number in a cell; an empty cell is NaN, "could not be measured".

    Raises:
        DataError: The cell holds something that is no finite number.
    """
    if not value.strip():
        return math.nan
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{path}: row {row}: {column} is {value!r}; need a finite number or an empty cell")
    return number


def parse_int(value: str, path: Path, row: int, column: str) -> int:
    """Whole number in a cell.

    Raises:
        DataError: The cell holds something else.
    """
    try:
        return int(value)
    except ValueError:
        raise DataError(f"{path}: row {row}: {column} is {value!r}; need a whole number") from None


def parse_name(value: str, names: Iterable[str], path: Path, row: int, column: str) -> str:
    """A cell that must be one of `names`.

    Raises:
        DataError: It is another one; the message lists the known ones.
    """
    known = tuple(names)
    if value not in known:
        raise DataError(f"{path}: row {row}: {column} is {value!r}; known: {', '.join(known)}")
    return value


def parse_seconds(value: str, path: Path, row: int, column: str) -> float | None:
    """Time in a cell, None when it is empty.

    Raises:
        DataError: The cell holds something that is no finite number.
    """
    seconds = parse_float(value, path, row, column)
    return None if math.isnan(seconds) else seconds


def float_columns(rows: Sequence[dict[str, str]], columns: Sequence[str], path: Path) -> np.ndarray:
    """The named columns as numbers: (n_rows, n_columns), float32, NaN where a cell is empty."""
    values = [
        [parse_float(cells[name], path, row, name) for name in columns]
        for row, cells in enumerate(rows, start=FIRST_ROW)
    ]
    return np.asarray(values, dtype=np.float32)


def check_unique_ids(utterances: Sequence[Utterance], path: Path) -> None:
    """Refuse two utterances of one id.

    Raises:
        DataError: An id appears twice; the message names it.
    """
    seen: set[str] = set()
    for utterance in utterances:
        if utterance.id in seen:
            raise DataError(f"{path}: utterance {utterance.id} appears twice; need each id once")
        seen.add(utterance.id)


def in_dialogue_order(utterances: Sequence[Utterance], path: Path) -> tuple[Utterance, ...]:
    """Utterances with each dialogue's own in order of `index`; dialogues keep the order of their first one.

    Raises:
        DataError: A dialogue has two utterances of one index.
    """
    groups: dict[str | None, dict[int, Utterance]] = {}
    for utterance in utterances:
        group = groups.setdefault(utterance.dialogue, {})
        if utterance.index in group:
            raise DataError(
                f"{path}: dialogue {utterance.dialogue}: {group[utterance.index].id} and {utterance.id} "
                f"both have index {utterance.index}; need each index once"
            )
        group[utterance.index] = utterance
    return tuple(group[index] for group in groups.values() for index in sorted(group))
