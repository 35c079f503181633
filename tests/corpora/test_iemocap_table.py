from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from emofuse.corpora import iemocap, iemocap_table
from emofuse.errors import DataError
from emofuse.labels import LABEL_SETS

HEADER = [
    *("split", "dialogue", "index", "utt_id", "speaker", "label", "label_name", "orig_emotion"),
    *("val", "act", "dom", "start", "end", "text"),
    *iemocap_table.PROSODY,
]


def cells(suffix: str = "M000", **changes: str) -> dict[str, str]:
    """One made-up row, of which `changes` replace cells."""
    dialogue = "Ses03" + "F_impro02"
    row = dict.fromkeys(HEADER, "0.5") | {
        "split": "train",
        "dialogue": dialogue,
        "index": "0",
        "utt_id": f"{dialogue}_{suffix}",
        "speaker": suffix[0],
        "label_name": "hap",
        "orig_emotion": "hap",
        "text": "made up, words",
    }
    return row | changes


def write(tmp_path: Path, *rows: dict[str, str]) -> Path:
    lines = [",".join(HEADER), *(",".join(f'"{row[name]}"' for name in HEADER) for row in rows)]
    file = tmp_path / "utterances.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_reads_a_replica(tmp_path):
    file = write(
        tmp_path,
        cells("M000", index="1", orig_emotion="xxx", split="val", avg_pitch="", text=" "),
        cells("F000", start="1.25", end="2.5", label_name="exc", orig_emotion="exc", split="val", duration="7"),
    )
    corpus = iemocap_table.read(tmp_path)
    assert corpus.utterances == iemocap_table.read(file).utterances
    second, first = corpus.utterances[1], corpus.utterances[0]
    assert (first.speaker, first.sex, first.session, first.split) == ("Ses03F", "female", "Ses03", "dev")
    assert (first.label, first.start_s, first.end_s, first.text) == ("excited", 1.25, 2.5, "made up, words")
    # No annotator agreement: the table's label stays, its original code tells.
    assert (second.label, second.original_label, second.text) == ("happy", "xxx", None)
    assert (first.features, second.features) == ({"speech": 1}, {"speech": 0})
    assert corpus.features["speech"].shape == (2, 16)
    assert corpus.features["speech"][1, 0] == 7
    assert np.isnan(corpus.features["speech"][0, 3])
    assert corpus.feature_names["speech"][3] == "avg_pitch"
    assert corpus.nan_allowed == ("speech",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label_name": "joy"}, "label_name is 'joy'; known"),
        ({"orig_emotion": "?"}, "orig_emotion is '?'; known"),
        ({"speaker": "M"}, "need the suffix letter"),
        ({"speaker": "x"}, "speaker is 'x'; known: F, M"),
        ({"split": "valid"}, "split is 'valid'; known: train, val, test"),
        ({"index": "one"}, "index is 'one'"),
        ({"avg_pitch": "high"}, "avg_pitch is 'high'"),
        ({"start": "x"}, "start is 'x'"),
        ({"dialogue": "d"}, "is not of dialogue 'd'"),
        ({"utt_id": "u1"}, "need the form"),
    ],
)
def test_bad_rows(tmp_path, change, said):
    file = write(tmp_path, cells(), cells("F000", **({"index": "1"} | change)))
    with pytest.raises(DataError) as caught:
        iemocap_table.read(tmp_path)
    assert str(caught.value).startswith(f"{file}: row 3: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_repeated_utterance_missing_column_and_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        iemocap_table.read(tmp_path)
    file = write(tmp_path, cells(), cells(index="1"))
    with pytest.raises(DataError, match="appears twice"):
        iemocap_table.read(tmp_path)
    file.write_text("split,text\ntrain,x\n")
    with pytest.raises(DataError, match=r"row 1: no column dialogue, index"):
        iemocap_table.read(tmp_path)


@pytest.mark.corpora
def test_sizes_of_the_real_table(corpora_dir):
    corpus = iemocap_table.read(corpora_dir / "iemocap")
    assert len(corpus.utterances) == 7433
    assert Counter(u.split for u in corpus.utterances) == {"train": 5163, "dev": 647, "test": 1623}
    assert {u.session for u in corpus.utterances if u.split == "test"} == {"Ses05"}
    assert len({u.speaker for u in corpus.utterances}) == 10
    assert sum(u.original_label == "xxx" for u in corpus.utterances) == 53
    assert corpus.features["speech"].shape == (7433, 16)

    four = LABEL_SETS["iemocap4"]
    kept = [u for u in corpus.utterances if four.class_index(u.label, u.original_label) is not None]
    assert len(kept) == 5531
    counts = Counter(four.class_index(u.label, u.original_label) for u in kept)
    assert [counts[i] for i in range(4)] == [1103, 1636, 1708, 1084]
    sessions = Counter(u.session for u in kept)
    assert [sessions[f"Ses0{i}"] for i in range(1, 6)] == [1085, 1023, 1151, 1031, 1241]


@pytest.mark.corpora
def test_dialogues_of_the_real_table(corpora_dir):
    utterances = iemocap_table.read(corpora_dir / "iemocap").utterances
    dialogues: dict[str | None, list[int]] = {}
    for utterance in utterances:
        dialogues.setdefault(utterance.dialogue, []).append(utterance.index)
    assert len(dialogues) == 151
    assert all(indices == list(range(len(indices))) for indices in dialogues.values())
    assert sum(iemocap.is_improvised(u.dialogue or "") for u in utterances) == 3967
