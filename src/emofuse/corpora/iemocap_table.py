"""IEMOCAP as one table: words, labels, times and 16 prosodic features; no audio, no video.

The 7433 utterances of six emotions in the dialogue split of Pan et al. (2020). 53 of them are
labelled "happy" although the annotators did not agree; their `original_label` is ``xxx``, and
leaving them out gives the 5531 utterances of the four-class protocol.
"""

from pathlib import Path

from emofuse.corpora.iemocap import LABELS, LICENCE, parse_id
from emofuse.corpora.tables import (
    FIRST_ROW,
    check_unique_ids,
    float_columns,
    in_dialogue_order,
    locate,
    parse_int,
    parse_name,
    parse_seconds,
    read_rows,
)
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import DataError
from emofuse.labels import NO_AGREEMENT

NAME = "iemocap-table"
SPLITS = {"train": "train", "val": "dev", "test": "test"}
PROSODY = (
    "duration",
    "avg_intensity",
    "intensity_variation",
    "avg_pitch",
    "pitch_std",
    "pitch_range",
    "articulation_rate",
    "mean_hnr",
    "sig_mean",
    "sig_std",
    "rmse_mean",
    "rmse_std",
    "silence",
    "harmonic",
    "auto_corr_max",
    "auto_corr_std",
)

_COLUMNS = ("split", "dialogue", "index", "utt_id", "speaker", "label_name", "orig_emotion", "start", "end", "text")


def read(path: Path) -> Corpus:
    """Read ``utterances.csv``.

    Args:
        path: The file or its folder.

    Raises:
        DataError: The table is missing, malformed or contradicts itself.
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
    where = f"{file}: row {row}"
    turn = parse_id(cells["utt_id"], where)
    if turn.dialogue != cells["dialogue"]:
        raise DataError(f"{where}: utterance {cells['utt_id']} is not of dialogue {cells['dialogue']!r}")
    if not turn.speaker.endswith(parse_name(cells["speaker"], ("F", "M"), file, row, "speaker")):
        raise DataError(f"{where}: speaker is {cells['speaker']!r}, need the suffix letter of {cells['utt_id']}")
    return Utterance(
        id=cells["utt_id"],
        corpus=NAME,
        label=LABELS[parse_name(cells["label_name"], LABELS, file, row, "label_name")],
        original_label=parse_name(cells["orig_emotion"], (*LABELS, NO_AGREEMENT), file, row, "orig_emotion"),
        dialogue=turn.dialogue,
        index=parse_int(cells["index"], file, row, "index"),
        speaker=turn.speaker,
        session=turn.session,
        sex=turn.sex,
        split=SPLITS[parse_name(cells["split"], SPLITS, file, row, "split")],
        start_s=parse_seconds(cells["start"], file, row, "start"),
        end_s=parse_seconds(cells["end"], file, row, "end"),
        text=cells["text"].strip() or None,
        features={"speech": row - FIRST_ROW},
    )
