from pathlib import Path

import pytest

from emofuse.corpora.folder import folder_utterances
from emofuse.errors import DataError


def test_every_media_file_is_an_utterance_named_by_its_relative_path(tmp_path: Path) -> None:
    root = tmp_path / "talks"
    for name in ("b.WAV", "a/c.mp4", "a/b.flac", "notes.txt", ".hidden.wav", ".cache/x.wav", "folder.wav/inner.mkv"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    utterances = folder_utterances(root)
    assert [u.id for u in utterances] == ["a/b.flac", "a/c.mp4", "b.WAV", "folder.wav/inner.mkv"]
    assert {u.corpus for u in utterances} == {"talks"}
    assert [(u.audio is None, u.video is None) for u in utterances] == [
        (False, True),
        (True, False),
        (False, True),
        (True, False),
    ]


def test_a_folder_without_media_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"no media file; known extensions: \.wav \.flac"):
        folder_utterances(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        folder_utterances(tmp_path / "notes.txt")
