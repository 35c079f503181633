from pathlib import Path

import pytest

from emofuse.corpora import tess
from emofuse.corpora.check import find_problems
from emofuse.errors import DataError


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_fields_of_the_name(tmp_path: Path) -> None:
    touch(tmp_path / "OAF_angry" / "OAF_back_angry.wav")
    touch(tmp_path / "YAF_pleasant_surprised" / "YAF_youth_ps.wav")
    corpus = tess.read(tmp_path)
    first, second = corpus.utterances
    assert (first.id, first.label, first.speaker, first.sex) == ("OAF_back_angry", "angry", "OAF", "female")
    assert first.text == "Say the word back"
    assert (second.label, second.original_label, second.speaker) == ("surprised", "ps", "YAF")
    assert find_problems(corpus) == []


def test_the_misspelt_clip_belongs_to_the_older_actress(tmp_path: Path) -> None:
    touch(tmp_path / "OAF_neutral" / "OA_bite_neutral.wav")
    (utterance,) = tess.read(tmp_path).utterances
    assert (utterance.id, utterance.speaker, utterance.label) == ("OAF_bite_neutral", "OAF", "neutral")


def test_an_archive_with_every_file_twice_is_read_once(tmp_path: Path) -> None:
    for folder in ("OAF_Fear", "copy/OAF_Fear"):
        touch(tmp_path / folder / "OAF_back_fear.wav")
    assert [u.label for u in tess.read(tmp_path).utterances] == ["fearful"]


@pytest.mark.parametrize("name", ["OAF_back_joy.wav", "XAF_back_sad.wav", "OAF_back.wav"])
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    with pytest.raises(DataError, match=r"does not fit SSS_word_emotion, for example OAF_back_angry") as error:
        tess.read(tmp_path)
    assert name in str(error.value)
