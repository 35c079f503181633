"""CMU-MOSI as a table and three feature arrays: film reviews on video, binary sentiment.

``utterances.csv`` lists the clips; row i of each array in ``features.npz`` belongs to its row i.
Each video is one speaker's, so the video's name is dialogue and speaker at once.
"""

import zipfile
from pathlib import Path

import numpy as np

from emofuse.corpora.tables import (
    FIRST_ROW,
    check_unique_ids,
    in_dialogue_order,
    locate,
    parse_int,
    parse_name,
    read_rows,
)
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import DataError

NAME = "mosi-table"
LICENCE = "CMU-MOSI: research only"
LABELS = {"0": "negative", "1": "positive"}
MODALITIES = ("speech", "visual", "text")

_COLUMNS = ("split", "video", "index", "utt_id", "text", "label")


def read(path: Path) -> Corpus:
    """Read ``utterances.csv`` and ``features.npz``.

    Args:
        path: Their folder, or the csv file.

    Raises:
        DataError: A file is missing or malformed, or their rows do not match.
    """
    file = locate(path, "utterances.csv")
    rows = read_rows(file, _COLUMNS)
    utterances = [_utterance(cells, file, row) for row, cells in enumerate(rows, start=FIRST_ROW)]
    check_unique_ids(utterances, file)
    _check_splits(utterances, file)
    features = _read_features(file.with_name("features.npz"), n_rows=len(rows))
    return Corpus(NAME, in_dialogue_order(utterances, file), features=features, licence=LICENCE)


def _utterance(cells: dict[str, str], file: Path, row: int) -> Utterance:
    if not cells["utt_id"] or not cells["video"]:
        raise DataError(f"{file}: row {row}: utt_id or video is empty; need both")
    return Utterance(
        id=cells["utt_id"],
        corpus=NAME,
        label=LABELS[parse_name(cells["label"], LABELS, file, row, "label")],
        original_label=cells["label"],
        dialogue=cells["video"],
        index=parse_int(cells["index"], file, row, "index"),
        speaker=cells["video"],
        split=parse_name(cells["split"], ("train", "dev", "test"), file, row, "split"),
        text=cells["text"].strip() or None,
        features=dict.fromkeys(MODALITIES, row - FIRST_ROW),
    )


def _check_splits(utterances: list[Utterance], file: Path) -> None:
    splits: dict[str | None, str | None] = {}
    for utterance in utterances:
        split = splits.setdefault(utterance.dialogue, utterance.split)
        if split != utterance.split:
            raise DataError(
                f"{file}: video {utterance.dialogue} is in {split} and in {utterance.split}; need it in one split"
            )


def _read_features(file: Path, n_rows: int) -> dict[str, np.ndarray]:
    try:
        # np.load leaves a file that it opened itself open when that is no archive.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            missing = [name for name in MODALITIES if name not in arrays]
            if missing:
                raise DataError(f"{file}: no array {', '.join(missing)}; need {', '.join(MODALITIES)}")
            features = {name: arrays[name] for name in MODALITIES}
    except FileNotFoundError:
        raise DataError(f"{file}: no such file; need it beside utterances.csv") from None
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        # TypeError: the file is a lone .npy array and not an archive of them.
        raise DataError(f"{file}: not an archive of plain arrays ({str(error).splitlines()[0]})") from None
    return {name: _checked(array, name, file, n_rows) for name, array in features.items()}


def _checked(array: np.ndarray, name: str, file: Path, n_rows: int) -> np.ndarray:
    if array.ndim != 2 or len(array) != n_rows or array.dtype.kind not in "fiu":
        raise DataError(
            f"{file}: {name} is {array.dtype} of shape {array.shape}; "
            f"need numbers of shape ({n_rows}, dim), a row for each of utterances.csv"
        )
    broken = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if broken.size:
        raise DataError(
            f"{file}: {name} row {broken[0]} (row {broken[0] + FIRST_ROW} of the csv) holds NaN or infinity"
        )
    return array.astype(np.float32, copy=False)
