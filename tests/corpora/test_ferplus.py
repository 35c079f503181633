from pathlib import Path

import cv2
import numpy as np
import pytest

from emofuse.corpora import ferplus
from emofuse.corpora.check import find_problems, summarise
from emofuse.errors import DataError
from emofuse.media.image import read_face

HEADER = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown"


def write_sheet(path: Path, n_rows: int = 2, n_columns: int = 3) -> None:
    """Tile i has the grey value i."""
    tiles = np.arange(n_rows * n_columns, dtype=np.uint8).reshape(n_rows, n_columns)
    cv2.imwrite(str(path), np.kron(tiles, np.ones((48, 48), dtype=np.uint8)))


@pytest.fixture
def sheets(tmp_path: Path) -> Path:
    votes = ["a,train,4,0,0,1,3,2,0,0,0,0", "b,dev,0,5,5,0,0,0,0,0,0,0", "c,test,1,0,0,0,0,0,0,0,0,9"]
    (tmp_path / "votes.csv").write_text("\n".join([f"id,split,{HEADER},not_a_face", *votes]))
    write_sheet(tmp_path / "sheet-00.png")
    return tmp_path


def test_label_is_the_one_emotion_with_most_votes(sheets: Path) -> None:
    corpus = ferplus.read(sheets)
    assert [(u.id, u.label, u.original_label, u.split, u.tile) for u in corpus.utterances] == [
        ("a", "neutral", "neutral", "train", 0),
        ("b", None, "happiness,surprise", "dev", 1),
        ("c", None, "not_a_face", "test", 2),
    ]
    votes = corpus.utterances[0].votes
    assert votes is not None
    assert (votes["neutral"], votes["angry"], votes["disgusted"], sum(votes.values())) == (4, 3, 2, 10)
    assert find_problems(corpus) == []


def test_faces_after_the_first_sheet_are_on_the_next(sheets: Path) -> None:
    rows = "\n".join(f"f{i},train,0,0,0,6,0,0,0,0,0,0" for i in range(1025))
    (sheets / "votes.csv").write_text(f"id,split,{HEADER},not_a_face\n{rows}\n")
    with pytest.raises(DataError, match=r"sheet-01\.png: no such file; 1025 rows in votes\.csv need 2 sheets"):
        ferplus.read(sheets)
    write_sheet(sheets / "sheet-01.png")
    last = ferplus.read(sheets).utterances[-1]
    assert (last.image, last.tile, last.label) == (sheets / "sheet-01.png", 0, "sad")


def test_a_picture_that_is_in_the_table_twice_gets_a_name_of_its_own(sheets: Path) -> None:
    row = "a,train,4,0,0,1,3,2,0,0,0,0"
    (sheets / "votes.csv").write_text(f"id,split,{HEADER},not_a_face\n{row}\n{row}\n")
    assert [u.id for u in ferplus.read(sheets).utterances] == ["a", "a-2"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,train,x,0,0,0,0,0,0,0,0,0", r"votes\.csv: row 2: neutral is 'x'; need a whole number"),
        ("a,train,-1,0,0,0,0,0,0,0,0,0", r"votes\.csv: row 2: a negative number of votes"),
        ("a,valid,1,0,0,0,0,0,0,0,0,0", r"votes\.csv: row 2: split is 'valid'; known: train, dev, test"),
    ],
)
def test_malformed_rows_are_refused(sheets: Path, row: str, message: str) -> None:
    (sheets / "votes.csv").write_text(f"id,split,{HEADER},not_a_face\n{row}\n")
    with pytest.raises(DataError, match=message):
        ferplus.read(sheets)


def test_neither_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither votes\.csv nor fer2013new\.csv here"):
        ferplus.read(tmp_path)


@pytest.mark.parametrize("parent", ["", "data"])
def test_microsofts_layout(tmp_path: Path, parent: str) -> None:
    rows = [
        "Training,fer0000000.png,0,9,0,0,0,0,0,1,0,0",
        "Training,,0,0,0,0,0,0,0,0,0,10",
        "PublicTest,fer0000001.png,0,0,0,0,0,0,0,7,0,0",
        "PrivateTest,fer0000002.png,0,0,0,0,0,0,7,0,0,0",
    ]
    (tmp_path / "fer2013new.csv").write_text("\n".join([f"Usage,Image name,{HEADER},NF", *rows]))
    for folder, name in (("Train", "fer0000000"), ("Valid", "fer0000001"), ("Test", "fer0000002")):
        image = tmp_path / parent / f"FER2013{folder}" / f"{name}.png"
        image.parent.mkdir(parents=True)
        write_sheet(image, 1, 1)
    corpus = ferplus.read(tmp_path)
    assert [(u.id, u.label, u.split) for u in corpus.utterances] == [
        ("fer0000000", "happy", "train"),
        ("fer0000001", "contempt", "dev"),
        ("fer0000002", "fearful", "test"),
    ]
    assert find_problems(corpus) == []
    (tmp_path / parent / "FER2013Test" / "fer0000002.png").unlink()
    with pytest.raises(DataError, match=r"fer2013new\.csv: row 5: no picture .*FER2013Test/fer0000002\.png"):
        ferplus.read(tmp_path)


@pytest.mark.corpora
def test_real_ferplus(corpora_dir: Path) -> None:
    corpus = ferplus.read(corpora_dir / "ferplus")
    assert summarise(corpus)["splits"] == {"dev": 3579, "test": 3574, "train": 28561}
    assert len(corpus.utterances) == 35714
    assert find_problems(corpus) == []
    for utterance in (corpus.utterances[0], corpus.utterances[-1]):
        assert utterance.image is not None
        face = read_face(utterance.image, utterance.tile)
        assert face.shape == (48, 48)
        assert face.dtype == np.uint8
        assert face.std() > 10
