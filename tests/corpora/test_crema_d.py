from pathlib import Path

import pytest

from emofuse.corpora import crema_d
from emofuse.corpora.check import find_problems
from emofuse.errors import DataError


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_fields_of_the_name(tmp_path: Path) -> None:
    touch(tmp_path / "AudioWAV" / "1001_DFA_ANG_XX.wav")
    touch(tmp_path / "AudioWAV" / "1002_IEO_HAP_LO.wav")
    corpus = crema_d.read(tmp_path)
    first, second = corpus.utterances
    assert (first.id, first.label, first.original_label) == ("1001_DFA_ANG_XX", "angry", "ANG")
    assert (first.speaker, first.sex, first.text) == ("1001", None, "Don't forget a jacket")
    assert (second.label, second.text) == ("happy", "It's eleven o'clock")
    assert find_problems(corpus) == []


@pytest.mark.parametrize("folder", ["", "AudioWAV"])
def test_sex_comes_from_the_demographics_table(tmp_path: Path, folder: str) -> None:
    touch(tmp_path / "AudioWAV" / "1001_DFA_ANG_XX.wav")
    touch(tmp_path / "AudioWAV" / "1002_DFA_SAD_XX.wav")
    table = "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,x,y\n1002,21,Female,x,y\n"
    (tmp_path / "VideoDemographics.csv").write_text(table)
    assert [u.sex for u in crema_d.read(tmp_path / folder).utterances] == ["male", "female"]


def test_the_clip_whose_intensity_has_one_letter(tmp_path: Path) -> None:
    touch(tmp_path / "1040_ITH_SAD_X.wav")
    assert [u.label for u in crema_d.read(tmp_path).utterances] == ["sad"]


@pytest.mark.parametrize("name", ["1001_DFA_JOY_XX.wav", "1001_ABC_ANG_XX.wav", "1001_DFA_ANG.wav"])
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    with pytest.raises(DataError, match=r"does not fit AAAA_SSS_EEE_II, for example 1001_DFA_ANG_XX") as error:
        crema_d.read(tmp_path)
    assert name in str(error.value)


def test_unknown_sex_is_refused_with_the_row(tmp_path: Path) -> None:
    touch(tmp_path / "1001_DFA_ANG_XX.wav")
    (tmp_path / "VideoDemographics.csv").write_text("ActorID,Sex\n1001,?\n")
    with pytest.raises(DataError, match=r"VideoDemographics.csv: row 2: Sex is '\?'; known: Female, Male"):
        crema_d.read(tmp_path)
