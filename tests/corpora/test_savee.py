from pathlib import Path

import pytest

from emofuse.corpora import savee
from emofuse.corpora.check import find_problems
from emofuse.errors import DataError


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_speaker_folders(tmp_path: Path) -> None:
    touch(tmp_path / "AudioData" / "DC" / "a01.wav")
    touch(tmp_path / "AudioData" / "JE" / "a01.wav")
    touch(tmp_path / "AudioData" / "JE" / "sa05.wav")
    corpus = savee.read(tmp_path)
    assert [(u.id, u.label, u.speaker) for u in corpus.utterances] == [
        ("DC_a01", "angry", "DC"),
        ("JE_a01", "angry", "JE"),
        ("JE_sa05", "sad", "JE"),
    ]
    assert {(u.sex, u.text) for u in corpus.utterances} == {("male", None)}
    assert find_problems(corpus) == []


def test_flat_names(tmp_path: Path) -> None:
    for name in ("DC_su01", "JK_n30", "KL_h07"):
        touch(tmp_path / f"{name}.wav")
    utterances = savee.read(tmp_path).utterances
    assert [(u.speaker, u.label) for u in utterances] == [("DC", "surprised"), ("JK", "neutral"), ("KL", "happy")]


@pytest.mark.parametrize("name", ["DC/x01.wav", "DC/a1.wav", "XX_a01.wav"])
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    with pytest.raises(DataError, match=r"does not fit DC_a01 or, in a folder DC, a01") as error:
        savee.read(tmp_path)
    assert name in str(error.value)


def test_a_clip_without_speaker_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "clips" / "a01.wav")
    with pytest.raises(DataError, match=r"no speaker in the name or folder 'clips'; need DC, JE, JK, KL$"):
        savee.read(tmp_path)
