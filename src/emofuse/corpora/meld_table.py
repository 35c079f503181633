"""MELD as one table: words, labels, dialogues, speakers and 8 Praat features; no media."""

from pathlib import Path

from emofuse.corpora.meld import CLIP_FOLDERS, LABELS
from emofuse.corpora.tables import (
    FIRST_ROW,
    check_unique_ids,
    float_columns,
    in_dialogue_order,
    locate,
    parse_int,
    parse_name,
    read_rows,
)
from emofuse.corpora.utterance import Corpus, Utterance

NAME = "meld-table"
LICENCE = "annotations GPL-3.0"
PROSODY = (
    "duration",
    "avg_intensity",
    "intensity_variation",
    "avg_pitch",
    "pitch_std",
    "pitch_range",
    "articulation_rate",
    "mean_hnr",
)

_COLUMNS = ("split", "dialogue", "utterance", "clip", "speaker", "emotion", "text")


def read(path: Path) -> Corpus:
    """Read ``utterances.csv``.

    Args:
        path: The file or its folder.

    Raises:
        DataError: The table is missing or malformed.
    """
    file = locate(path, "utterances.csv")
    rows = read_rows(file, (*_COLUMNS, *PROSODY))
    utterances = [_utterance(cells, file, row) for row, cells in enumerate(rows, start=FIRST_ROW)]
    check_unique_ids(utterances, file)
    return Corpus(
        NAME,
        in_dialogue_order(utterances, file),
        features={"speech": float_columns(rows, PROSODY, file)},
        feature_names={"speech": PROSODY},
        nan_allowed=("speech",),
        licence=LICENCE,
    )


def _utterance(cells: dict[str, str], file: Path, row: int) -> Utterance:
    split = parse_name(cells["split"], CLIP_FOLDERS, file, row, "split")
    code = parse_name(cells["emotion"], LABELS, file, row, "emotion")
    return Utterance(
        id=f"{split}_{cells['clip']}",
        corpus=NAME,
        label=LABELS[code],
        original_label=code,
        # Dialogue numbers start anew in each split.
        dialogue=f"{split}-dia{parse_int(cells['dialogue'], file, row, 'dialogue')}",
        index=parse_int(cells["utterance"], file, row, "utterance"),
        speaker=cells["speaker"].strip() or None,
        split=split,
        text=cells["text"].strip() or None,
        features={"speech": row - FIRST_ROW},
    )
