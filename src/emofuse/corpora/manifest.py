"""Manifest: a corpus of your own as one table, CSV, JSON lines or Parquet by the file's suffix.

A row is an utterance. Only `id` is required; an empty cell (null) means "not known"; other
columns are ignored. Paths are relative to the manifest's folder.

=====================  =================================================================
``id``                 unique name of the utterance
``label``              a name of `check.KNOWN_LABELS`
``original_label``     the corpus' own code
``dialogue``           name of the conversation or video; empty for an isolated clip
``index``              position in the dialogue, from 0; empty: the order of the rows
``speaker``            unique in the corpus
``session``            recording session
``sex``                female, male
``split``              train, dev, test
``start_s, end_s``     seconds, both or neither; with audio or video: the part to read
``text``               transcript
``audio, video``       media files
``image``              picture of the face
``speech_features``    .npy file of one vector (dim,) or one sequence (steps, dim)
``visual_features``    likewise
``text_features``      likewise
=====================  =================================================================
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from emofuse.corpora.check import KNOWN_LABELS, SEXES, SPLITS
from emofuse.corpora.tables import FIRST_ROW, parse_int, parse_name, parse_seconds, read_rows, read_text
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import DataError

NAME = "manifest"
SUFFIXES = (".csv", ".jsonl", ".parquet")
MODALITIES = ("speech", "visual", "text")
COLUMNS = (
    "id",
    "label",
    "original_label",
    "dialogue",
    "index",
    "speaker",
    "session",
    "sex",
    "split",
    "start_s",
    "end_s",
    "text",
    "audio",
    "video",
    "image",
    *(f"{modality}_features" for modality in MODALITIES),
)


def read(path: Path) -> Corpus:
    """Read a manifest.

    Sequences of features are padded with zeros at the end, to the longest one of the modality.

    Args:
        path: The .csv, .jsonl or .parquet file.

    Raises:
        DataError: The file or a file it names is missing, or a row is malformed; with the row.
    """
    utterances: list[Utterance] = []
    rows_taken: dict[tuple[str, str | int], int] = {}
    next_index: dict[str, int] = {}
    features = {modality: _FeatureRows(path) for modality in MODALITIES}
    for row, cells in _read_table(path):
        utterance = _utterance(cells, path, row, next_index, features)
        _check_unique(utterance, rows_taken, path, row)
        utterances.append(utterance)
    arrays = {modality: rows.stack() for modality, rows in features.items() if rows.arrays}
    return Corpus(NAME, _in_order(utterances), arrays, licence="as its owner says")


def _check_unique(u: Utterance, rows_taken: dict[tuple[str, str | int], int], path: Path, row: int) -> None:
    """Refuse an id, or an index within a dialogue, that an earlier row has."""
    first = rows_taken.setdefault(("id", u.id), row)
    if first != row:
        raise DataError(f"{path}: row {row}: id {u.id!r} is that of row {first} too; need each id once")
    if u.dialogue is None:
        return
    first = rows_taken.setdefault((f"dialogue {u.dialogue}", u.index), row)
    if first != row:
        raise DataError(f"{path}: row {row}: index {u.index} of dialogue {u.dialogue} is that of row {first} too")


def _read_table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Row number, as an editor shows it, and cells as text, stripped; an empty cell is left out."""
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path}: a manifest ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.suffix == ".csv":
        rows = [(row, _cells(cells, path, row)) for row, cells in enumerate(read_rows(path, ["id"]), start=FIRST_ROW)]
    elif path.suffix == ".jsonl":
        rows = _read_jsonl(path)
    else:
        rows = _read_parquet(path)
    if not rows:
        raise DataError(f"{path}: no rows; need at least one utterance")
    return rows


def _read_jsonl(path: Path) -> list[tuple[int, dict[str, str]]]:
    rows: list[tuple[int, dict[str, str]]] = []
    # Not splitlines(): a text may hold U+2028, which ends no line of JSON.
    for row, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}: row {row}: not JSON ({error})") from None
        if not isinstance(cells, dict):
            raise DataError(f"{path}: row {row}: {type(cells).__name__} found; need one JSON object a line")
        rows.append((row, _cells(cells, path, row)))
    return rows


def _read_parquet(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file ({str(error).splitlines()[0]})") from None
    if "id" not in table.column_names:
        raise DataError(f"{path}: no column id; found {', '.join(table.column_names)}")
    return [(row, _cells(cells, path, row)) for row, cells in enumerate(table.to_pylist(), start=1)]


def _cells(values: Mapping[str, object], path: Path, row: int) -> dict[str, str]:
    cells: dict[str, str] = {}
    for column in COLUMNS:
        value = values.get(column)
        # pandas writes NaN for an empty cell.
        if value is None or (isinstance(value, float) and math.isnan(value)):
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise DataError(f"{path}: row {row}: {column} is {value!r}; need text, a number or null")
        # Likewise, pandas turns a column of whole numbers with an empty cell into floats.
        if column == "index" and isinstance(value, float) and value.is_integer():
            value = int(value)
        if text := str(value).strip():
            cells[column] = text
    return cells


def _utterance(
    cells: dict[str, str], path: Path, row: int, next_index: dict[str, int], features: "dict[str, _FeatureRows]"
) -> Utterance:
    if "id" not in cells:
        raise DataError(f"{path}: row {row}: no id; need a unique name for the utterance")
    start_s, end_s = _times(cells, path, row)
    is_part = "audio" in cells or "video" in cells
    return Utterance(
        id=cells["id"],
        corpus=NAME,
        label=_name(cells, "label", KNOWN_LABELS, path, row),
        original_label=cells.get("original_label"),
        dialogue=cells.get("dialogue"),
        index=_index(cells, path, row, next_index),
        speaker=cells.get("speaker"),
        session=cells.get("session"),
        sex=_name(cells, "sex", SEXES, path, row),
        split=_name(cells, "split", SPLITS, path, row),
        start_s=start_s,
        end_s=end_s,
        text=cells.get("text"),
        audio=_file(cells, "audio", path, row),
        video=_file(cells, "video", path, row),
        image=_file(cells, "image", path, row),
        media_start_s=start_s if is_part else None,
        media_end_s=end_s if is_part else None,
        features={
            modality: features[modality].add(file, row)
            for modality in MODALITIES
            if (file := _file(cells, f"{modality}_features", path, row))
        },
    )


def _name(cells: dict[str, str], column: str, known: Sequence[str], path: Path, row: int) -> str | None:
    return parse_name(cells[column], known, path, row, column) if column in cells else None


def _index(cells: dict[str, str], path: Path, row: int, next_index: dict[str, int]) -> int:
    """The row's index or, where it is empty, the one after the dialogue's previous row."""
    dialogue = cells.get("dialogue")
    if "index" in cells:
        index = parse_int(cells["index"], path, row, "index")
    else:
        index = next_index.get(dialogue, 0) if dialogue else 0
    if index < 0:
        raise DataError(f"{path}: row {row}: index is {index}; need a whole number from 0")
    if dialogue:
        next_index[dialogue] = index + 1
    return index


def _times(cells: dict[str, str], path: Path, row: int) -> tuple[float | None, float | None]:
    start_s = parse_seconds(cells.get("start_s", ""), path, row, "start_s")
    end_s = parse_seconds(cells.get("end_s", ""), path, row, "end_s")
    if start_s is None and end_s is None:
        return None, None
    if start_s is None or end_s is None:
        raise DataError(f"{path}: row {row}: only one of start_s and end_s; need both or neither")
    if not 0 <= start_s < end_s:
        raise DataError(f"{path}: row {row}: start_s {start_s:g}, end_s {end_s:g}; need 0 <= start_s < end_s")
    return start_s, end_s


def _file(cells: dict[str, str], column: str, path: Path, row: int) -> Path | None:
    if column not in cells:
        return None
    file = path.parent / cells[column]
    if not file.is_file():
        raise DataError(f"{path}: row {row}: no {column} file {file}; paths start at the manifest's folder")
    return file


def _in_order(utterances: Sequence[Utterance]) -> tuple[Utterance, ...]:
    """Dialogues and isolated clips in order of their first row; a dialogue's utterances by index."""
    groups: dict[tuple[str, str], list[Utterance]] = {}
    for u in utterances:
        key = ("clip", u.id) if u.dialogue is None else ("dialogue", u.dialogue)
        groups.setdefault(key, []).append(u)
    return tuple(u for group in groups.values() for u in sorted(group, key=lambda u: u.index))


class _FeatureRows:
    """The arrays of one modality, row by row, all of one kind: (dim,) or (steps, dim)."""

    def __init__(self, manifest: Path) -> None:
        self.manifest = manifest
        self.arrays: list[np.ndarray] = []

    def add(self, file: Path, row: int) -> int:
        """Read a row's array; returns its index."""
        array = self._load(file, row)
        if self.arrays:
            first = self.arrays[0]
            if (array.ndim, array.shape[-1]) != (first.ndim, first.shape[-1]):
                need = f"({'steps, ' * (first.ndim - 1)}{first.shape[-1]}{',' * (first.ndim == 1)})"
                raise DataError(f"{self.manifest}: row {row}: {file} is {array.shape}; need {need} as in the first row")
        self.arrays.append(array)
        return len(self.arrays) - 1

    def _load(self, file: Path, row: int) -> np.ndarray:
        where = f"{self.manifest}: row {row}: {file}"
        try:
            array = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            raise DataError(f"{where} is no .npy file of numbers") from None
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            raise DataError(f"{where} is no .npy file of real numbers")
        if array.ndim not in (1, 2) or 0 in array.shape:
            raise DataError(f"{where} is {array.shape}; need (dim,) or (steps, dim), neither of them 0")
        if not np.isfinite(array).all():
            raise DataError(f"{where} holds NaN or infinity; need finite numbers")
        return array.astype(np.float32)

    def stack(self) -> np.ndarray:
        """(n_rows, dim), or (n_rows, n_steps, dim) with zeros after the end of shorter sequences."""
        if self.arrays[0].ndim == 1:
            return np.stack(self.arrays)
        n_steps = max(len(array) for array in self.arrays)
        stacked = np.zeros((len(self.arrays), n_steps, self.arrays[0].shape[-1]), dtype=np.float32)
        for sequence, array in zip(stacked, self.arrays, strict=True):
            sequence[: len(array)] = array
        return stacked
