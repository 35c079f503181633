from pathlib import Path

from emofuse.media.files import media_files


def test_media_files_of_a_folder_at_any_depth(tmp_path: Path) -> None:
    for name in ("b.WAV", "a/c.mp4", "a/notes.txt", ".hidden/d.wav", "a/.e.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert media_files(tmp_path) == [tmp_path / "a" / "c.mp4", tmp_path / "b.WAV"]
