from pathlib import Path

import pytest

from emofuse.corpora import ravdess
from emofuse.corpora.check import find_problems, summarise
from emofuse.errors import DataError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_fields_of_the_name_flat_and_in_actor_folders(tmp_path: Path) -> None:
    touch(tmp_path / "Actor_12" / "03-01-06-01-02-01-12.wav")
    touch(tmp_path / "03-01-02-02-01-02-07.flac")
    corpus = ravdess.read(tmp_path)
    calm, fearful = corpus.utterances
    assert (fearful.id, fearful.label, fearful.original_label) == ("03-01-06-01-02-01-12", "fearful", "06")
    assert (fearful.speaker, fearful.sex, fearful.text) == ("12", "female", "Dogs are sitting by the door")
    assert (calm.label, calm.speaker, calm.sex, calm.text) == ("calm", "07", "male", "Kids are talking by the door")
    assert calm.video is None
    assert find_problems(corpus) == []


def test_the_files_of_one_performance_are_one_utterance(tmp_path: Path) -> None:
    sound = touch(tmp_path / "audio" / "03-01-05-01-01-01-01.wav")
    both = touch(tmp_path / "video" / "01-01-05-01-01-01-01.mp4")
    touch(tmp_path / "video" / "02-01-05-01-01-01-01.mp4")
    (utterance,) = ravdess.read(tmp_path).utterances
    assert (utterance.id, utterance.audio, utterance.video) == (sound.stem, sound, both)


def test_video_alone(tmp_path: Path) -> None:
    both = touch(tmp_path / "01-01-05-01-01-01-01.mp4")
    picture = touch(tmp_path / "02-01-05-01-01-02-01.mp4")
    first, second = ravdess.read(tmp_path).utterances
    assert (first.audio, first.video) == (both, both)
    assert (second.audio, second.video) == (None, picture)


def test_an_archive_with_every_file_twice_is_read_once(tmp_path: Path) -> None:
    for folder in ("Actor_01", "audio_speech_actors_01-24/Actor_01"):
        touch(tmp_path / folder / "03-01-01-01-01-01-01.wav")
    assert len(ravdess.read(tmp_path).utterances) == 1


def test_songs_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path / "03-02-01-01-01-01-01.wav")
    with pytest.raises(DataError, match=r"only songs here; need RAVDESS clips of speech"):
        ravdess.read(tmp_path)
    touch(tmp_path / "03-01-01-01-01-01-01.wav")
    assert [u.id for u in ravdess.read(tmp_path).utterances] == ["03-01-01-01-01-01-01"]


@pytest.mark.parametrize("name", ["03-01-09-01-01-01-01.wav", "03-01-01-01-01-01.wav", "speech.wav"])
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    with pytest.raises(DataError, match=r"does not fit MM-CC-EE-II-SS-RR-AA") as error:
        ravdess.read(tmp_path)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "need"), [("01-01-01-01-01-01-01.wav", "need 03"), ("03-01-01-01-01-01-01.mp4", "need 01 or 02")]
)
def test_modality_and_kind_of_file_agree(tmp_path: Path, name: str, need: str) -> None:
    touch(tmp_path / name)
    with pytest.raises(DataError, match=rf"modality 0\d of a \.\w+ file; {need}$"):
        ravdess.read(tmp_path)


@pytest.mark.corpora
def test_real_ravdess(corpora_dir: Path) -> None:
    corpus = ravdess.read(corpora_dir / "ravdess")
    summary = summarise(corpus)
    assert summary["utterances"] == 1440
    assert summary["speakers"] == {f"{actor:02d}": 60 for actor in range(1, 25)}
    assert summary["labels"] == {label: 96 if label == "neutral" else 192 for label in ravdess.LABELS.values()}
    assert find_problems(corpus) == []
