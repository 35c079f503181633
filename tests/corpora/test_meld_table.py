from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from emofuse.corpora import meld_table
from emofuse.errors import DataError
from emofuse.labels import LABEL_SETS

HEADER = ["split", "dialogue", "utterance", "clip", "speaker", "emotion", "sentiment", "text", *meld_table.PROSODY]


def write(tmp_path: Path, *rows: tuple[str, int, int, str, str]) -> Path:
    """A table of rows (split, dialogue, utterance, emotion, pitch)."""
    lines = [",".join(HEADER)]
    for split, dialogue, utterance, emotion, pitch in rows:
        measured = ["1", "60", "9", pitch, "5", "50", "3", "8"]
        clip = f"dia{dialogue}_utt{utterance}"
        lines.append(",".join([split, f"{dialogue}", f"{utterance}", clip, "Ann", emotion, "x", "Made up.", *measured]))
    file = tmp_path / "utterances.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_reads_a_replica(tmp_path):
    emotions = ("joy", "anger", "sadness", "fear", "disgust", "surprise", "neutral")
    rows = [("train", 0, i, emotion, "" if i == 2 else "100") for i, emotion in enumerate(emotions)]
    write(tmp_path, *rows, ("dev", 0, 0, "joy", "120"))
    corpus = meld_table.read(tmp_path)
    assert [u.label for u in corpus.utterances[:7]] == [
        *("happy", "angry", "sad", "fearful", "disgusted", "surprised", "neutral"),
    ]
    first, last = corpus.utterances[0], corpus.utterances[-1]
    assert (first.id, first.dialogue, first.speaker) == ("train_dia0_utt0", "train-dia0", "Ann")
    assert (last.id, last.dialogue, last.split, last.features) == ("dev_dia0_utt0", "dev-dia0", "dev", {"speech": 7})
    assert corpus.features["speech"].shape == (8, 8)
    assert np.argwhere(np.isnan(corpus.features["speech"])).tolist() == [[2, 3]]
    assert corpus.nan_allowed == ("speech",)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (("valid", 0, 1, "joy", "1"), "split is 'valid'"),
        (("train", 0, 1, "happy", "1"), "emotion is 'happy'"),
        (("train", 0, 1, "joy", "high"), "avg_pitch is 'high'"),
    ],
)
def test_bad_rows(tmp_path, bad, said):
    file = write(tmp_path, ("train", 0, 0, "joy", "1"), bad)
    with pytest.raises(DataError) as caught:
        meld_table.read(tmp_path)
    assert str(caught.value).startswith(f"{file}: row 3: {said}")
    assert "\n" not in str(caught.value)


def test_repeated_utterance(tmp_path):
    file = write(tmp_path, ("train", 0, 0, "joy", "1"), ("train", 0, 0, "joy", "1"))
    with pytest.raises(DataError, match="train_dia0_utt0 appears twice"):
        meld_table.read(file)


@pytest.mark.corpora
def test_sizes_of_the_real_table(corpora_dir):
    corpus = meld_table.read(corpora_dir / "meld")
    assert Counter(u.split for u in corpus.utterances) == {"train": 9989, "dev": 1109, "test": 2610}
    assert all(LABEL_SETS["meld7"].class_index(u.label) is not None for u in corpus.utterances)
    assert corpus.features["speech"].shape == (13708, 8)
    # The two clips that the release lacks could not be measured at all.
    unmeasured = np.flatnonzero(np.isnan(corpus.features["speech"]).all(axis=1))
    ids = {u.features["speech"]: u.id for u in corpus.utterances}
    assert [ids[row] for row in unmeasured] == ["train_dia125_utt3", "dev_dia110_utt7"]
