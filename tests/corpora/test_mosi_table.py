from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from emofuse.corpora import mosi_table
from emofuse.errors import DataError

ROWS = ("train,vid_a,0,vid_a_1,MADE UP,0", "train,vid_a,1,vid_a_2,WORDS,1", "test,vid_b,0,vid_b_1,HERE,1")


def write(tmp_path: Path, rows: tuple[str, ...] = ROWS, **arrays: np.ndarray) -> Path:
    (tmp_path / "utterances.csv").write_text("\n".join(("split,video,index,utt_id,text,label", *rows)) + "\n")
    made = {name: np.full((3, dim), dim, np.float64) for name, dim in (("speech", 3), ("visual", 5), ("text", 4))}
    np.savez(tmp_path / "features.npz", **(made | arrays))  # pyright: ignore[reportArgumentType]
    return tmp_path


def test_reads_a_replica(tmp_path):
    corpus = mosi_table.read(write(tmp_path))
    first, second, last = corpus.utterances
    assert [u.label for u in corpus.utterances] == ["negative", "positive", "positive"]
    assert (second.dialogue, second.speaker, second.index, second.split) == ("vid_a", "vid_a", 1, "train")
    assert last.features == {"speech": 2, "visual": 2, "text": 2}
    assert first.text == "MADE UP"
    assert {name: array.shape for name, array in corpus.features.items()} == {
        "speech": (3, 3),
        "visual": (3, 5),
        "text": (3, 4),
    }
    assert all(array.dtype == np.float32 for array in corpus.features.values())
    assert corpus.nan_allowed == ()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_feature_that_is_not_finite(tmp_path, value):
    visual = np.zeros((3, 5))
    visual[1, 4] = value
    with pytest.raises(DataError, match=r"features\.npz: visual row 1 \(row 3 of the csv\) holds NaN or infinity$"):
        mosi_table.read(write(tmp_path, visual=visual))


@pytest.mark.parametrize(
    "text", [np.zeros((2, 4)), np.zeros((3, 4, 1)), np.array([["a"], ["b"], ["c"]])], ids=["rows", "ndim", "words"]
)
def test_arrays_that_do_not_match_the_table(tmp_path, text):
    with pytest.raises(DataError, match=r"features\.npz: text is .*; need numbers of shape \(3, dim\)"):
        mosi_table.read(write(tmp_path, text=text))


def test_arrays_of_objects_are_never_unpickled(tmp_path):
    with pytest.raises(DataError, match="not an archive of plain arrays"):
        mosi_table.read(write(tmp_path, text=np.array([{}, {}, {}], dtype=object)))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("train,vid_a,1,vid_a_2,WORDS,2", "row 3: label is '2'; known: 0, 1"),
        ("val,vid_a,1,vid_a_2,WORDS,1", "row 3: split is 'val'"),
        ("train,vid_a,x,vid_a_2,WORDS,1", "row 3: index is 'x'"),
        ("train,,1,vid_a_2,WORDS,1", "row 3: utt_id or video is empty"),
        ("train,vid_a,1,vid_a_1,WORDS,1", "utterance vid_a_1 appears twice"),
        ("train,vid_a,0,vid_a_2,WORDS,1", "dialogue vid_a: vid_a_1 and vid_a_2 both have index 0"),
        ("train,vid_b,1,vid_a_2,WORDS,1", "video vid_b is in train and in test"),
    ],
)
def test_bad_rows(tmp_path, row, said):
    with pytest.raises(DataError) as caught:
        mosi_table.read(write(tmp_path, (ROWS[0], row, ROWS[2])))
    assert str(caught.value).startswith(f"{tmp_path / 'utterances.csv'}: {said}")
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_features(tmp_path):
    write(tmp_path)
    file = tmp_path / "features.npz"
    np.savez(file, speech=np.zeros((3, 1)))
    with pytest.raises(DataError, match=r"features\.npz: no array visual, text; need"):
        mosi_table.read(tmp_path)
    for content in (b"", b"garbage", b"PK\x03\x04 garbage"):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"features\.npz: not an archive"):
            mosi_table.read(tmp_path)
    with file.open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(DataError, match=r"features\.npz: not an archive"):
        mosi_table.read(tmp_path)
    file.unlink()
    with pytest.raises(DataError, match=r"features\.npz: no such file"):
        mosi_table.read(tmp_path)


@pytest.mark.corpora
def test_sizes_of_the_real_files(corpora_dir):
    corpus = mosi_table.read(corpora_dir / "mosi")
    assert Counter(u.split for u in corpus.utterances) == {"train": 1447, "test": 752}
    videos = {u.dialogue: u.split for u in corpus.utterances}
    assert Counter(videos.values()) == {"train": 62, "test": 31}
    assert [corpus.features[name].shape for name in ("speech", "visual", "text")] == [
        (2199, 73),
        (2199, 100),
        (2199, 100),
    ]
