from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from emofuse.corpora import emodb
from emofuse.corpora.check import find_problems, summarise
from emofuse.errors import DataError


def write_clip(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.zeros(160, dtype=np.float32), 16000)


def test_speaker_sentence_and_emotion_come_from_the_name(tmp_path: Path) -> None:
    write_clip(tmp_path / "wav" / "03a01Fa.wav")
    write_clip(tmp_path / "wav" / "16b10Lb.wav")
    corpus = emodb.read(tmp_path)
    first, second = corpus.utterances
    assert (first.id, first.label, first.original_label, first.speaker, first.sex) == (
        "03a01Fa",
        "happy",
        "F",
        "03",
        "male",
    )
    assert first.text == "Der Lappen liegt auf dem Eisschrank."
    assert first.audio == tmp_path / "wav" / "03a01Fa.wav"
    assert (second.label, second.speaker, second.sex) == ("bored", "16", "female")
    assert find_problems(corpus) == []


def test_the_wav_folder_and_flac_are_read_too(tmp_path: Path) -> None:
    write_clip(tmp_path / "08a05Wa.flac")
    assert [u.label for u in emodb.read(tmp_path).utterances] == ["angry"]


def test_a_clip_that_lies_there_twice_is_read_once(tmp_path: Path) -> None:
    write_clip(tmp_path / "03a01Fa.wav")
    write_clip(tmp_path / "wav" / "03a01Fa.wav")
    assert len(emodb.read(tmp_path).utterances) == 1


@pytest.mark.parametrize("name", ["03a01Xa.wav", "3a01Fa.wav", "noise.wav"])
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    write_clip(tmp_path / name)
    with pytest.raises(DataError, match=r"does not fit SStttEv, for example 03a01Fa") as error:
        emodb.read(tmp_path)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"need EMO-DB clips named as 03a01Fa\.wav$"):
        emodb.read(tmp_path)


@pytest.mark.corpora
def test_real_emodb(corpora_dir: Path) -> None:
    corpus = emodb.read(corpora_dir / "emodb")
    summary = summarise(corpus)
    assert summary["utterances"] == 535
    assert summary["labels"] == {
        "angry": 127,
        "bored": 81,
        "disgusted": 46,
        "fearful": 69,
        "happy": 71,
        "neutral": 79,
        "sad": 62,
    }
    assert set(emodb.SEXES) == {u.speaker for u in corpus.utterances}
    assert all(u.text for u in corpus.utterances)
    assert find_problems(corpus) == []
