"""Which files of a folder are media."""

from pathlib import Path

SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".wma", ".aif", ".aiff")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mpg", ".mpeg", ".webm", ".mkv", ".avi", ".flv", ".wmv", ".3gp")
MEDIA_SUFFIXES = (*SOUND_SUFFIXES, *VIDEO_SUFFIXES)
"""Names of a folder's media files end so; a file that is named counts whatever its name."""


def media_files(folder: Path) -> list[Path]:
    """Media files of a folder at any depth, sorted; hidden files and folders are passed over."""
    inside = (p for p in folder.rglob("*") if p.suffix.lower() in MEDIA_SUFFIXES and p.is_file())
    return sorted(p for p in inside if not any(part.startswith(".") for part in p.relative_to(folder).parts))
