from pathlib import Path

import pytest

from emofuse.corpora.filenames import audio_files
from emofuse.errors import DataError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_audio_files_are_sorted_and_hidden_ones_left_out(tmp_path: Path) -> None:
    last = touch(tmp_path / "wav" / "b.FLAC")
    first = touch(tmp_path / "a.wav")
    for name in ("._a.wav", ".trash/c.wav", "labels.txt"):
        touch(tmp_path / name)
    assert audio_files(tmp_path, "clips") == [first, last]


def test_a_hidden_folder_above_the_corpus_does_not_matter(tmp_path: Path) -> None:
    clip = touch(tmp_path / ".cache" / "corpus" / "a.wav")
    assert audio_files(clip.parent, "clips") == [clip]


def test_missing_folder_and_empty_folder_say_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder; need clips named so$"):
        audio_files(tmp_path / "nowhere", "clips named so")
    with pytest.raises(DataError, match=r"no \.wav or \.flac file here or below; need clips named so$"):
        audio_files(tmp_path, "clips named so")
