"""Segments from files with a row for each: tables and RTTM."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from emofuse.errors import DataError
from emofuse.media.segment import Segment, check_span, parse_seconds

_START, _END = ("start_s", "start", "begin_s", "begin"), ("end_s", "end")
_RECORDING = ("source", "file", "recording")
_RTTM_FIELDS = 8  # type, file, channel, onset, duration, orthography, subtype, speaker; then what may lack
RTTM_LINE = re.compile(r"^[A-Z_-]+[ \t]+\S+[ \t]+\S+[ \t]+\S+[ \t]+\S+[ \t]+\S+[ \t]+\S+[ \t]+\S+", re.MULTILINE)
"""A line as RTTM files have them, by which they are told from tables."""


def read_table(path: Path, text: str) -> Iterator[tuple[str | None, Segment]]:
    """Name of the recording, where there is one, and segment of each row below the header.

    Raises:
        DataError: There is no header, or a row is bad; the message names `path` and the row.
    """
    first = text.lstrip("\n").partition("\n")[0]
    delimiter = max("\t;,", key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    columns: dict[str, int] = {}
    start = end = ""
    try:
        for cells in reader:
            where = f"{path}: row {reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = {name.strip().lower(): index for index, name in enumerate(cells)}
                start, end = (next((n for n in names if n in columns), "") for names in (_START, _END))
                if not start or not end:
                    raise DataError(f"{where}: no header with columns start_s and end_s; found {first[:60]!r}")
                continue
            if len(cells) != len(columns):
                raise DataError(f"{where}: {len(cells)} cells, need {len(columns)} as in the header")
            row = {name: cells[index].strip() for name, index in columns.items()}
            if delimiter != ",":  # a decimal comma, as spreadsheets of half of Europe write it
                row |= {name: row[name].replace(",", ".") for name in (start, end)}
            span = parse_seconds(row[start], where, start), parse_seconds(row[end], where, end)
            check_span(*span, where)
            recording = next((row[name] for name in _RECORDING if row.get(name)), None)
            yield recording, Segment(*span, row.get("speaker") or None, row.get("text") or None)
    except csv.Error as error:
        raise DataError(f"{path}: row {reader.line_num}: not a readable table ({error})") from None


def read_rttm(path: Path, text: str) -> Iterator[tuple[str | None, Segment]]:
    """Name of the recording and segment of each SPEAKER line.

    Raises:
        DataError: A line is bad; the message names `path` and the row.
    """
    for row, line in enumerate(text.split("\n"), start=1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        where = f"{path}: row {row}"
        if len(fields) < _RTTM_FIELDS:
            raise DataError(f"{where}: {len(fields)} fields, need {_RTTM_FIELDS} or more in a SPEAKER line")
        start_s = parse_seconds(fields[3], where, "onset")
        # To the microsecond: the sum of two decimals is none.
        end_s = round(start_s + parse_seconds(fields[4], where, "duration"), 6)
        check_span(start_s, end_s, where)
        yield fields[1], Segment(start_s, end_s, None if fields[7] == "<NA>" else fields[7])
