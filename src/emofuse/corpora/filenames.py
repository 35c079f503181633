"""Corpora whose labels stand in the file names: find the files, take a name apart."""

import re
from collections.abc import Iterable
from pathlib import Path

from emofuse.corpora.utterance import Utterance
from emofuse.errors import DataError

AUDIO_SUFFIXES = (".wav", ".flac")


def media_files(root: Path, suffixes: tuple[str, ...], wanted: str) -> list[Path]:
    """Files below `root` with one of the suffixes, sorted by path; hidden files and folders are left out.

    Hidden includes the ``._name.wav`` twins that macOS leaves in archives: they hold no sound.

    Args:
        root: Folder of the corpus.
        suffixes: File suffixes in lower case, with the dot.
        wanted: What a file should look like, for the message.

    Raises:
        DataError: `root` is no folder or holds no such file.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; need {wanted}")
    files = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.is_file()
    )
    if not files:
        raise DataError(f"{root}: no {' or '.join(suffixes)} file here or below; need {wanted}")
    return files


def audio_files(root: Path, wanted: str) -> list[Path]:
    """Sound files below `root`; see `media_files`.

    Raises:
        DataError: `root` is no folder or holds no .wav or .flac file.
    """
    return media_files(root, AUDIO_SUFFIXES, wanted)


def match_name(path: Path, pattern: re.Pattern[str], convention: str) -> re.Match[str]:
    """The file name's parts.

    Args:
        path: The file.
        pattern: Pattern for the whole name without its suffix.
        convention: The naming convention in words, for the message.

    Raises:
        DataError: The name does not fit.
    """
    match = pattern.fullmatch(path.stem)
    if match is None:
        raise DataError(f"{path}: the name {path.stem!r} does not fit {convention}")
    return match


def first_of_each_id(utterances: Iterable[Utterance]) -> tuple[Utterance, ...]:
    """Every clip once: widely shared archives of RAVDESS and TESS hold all their files twice."""
    by_id: dict[str, Utterance] = {}
    for utterance in utterances:
        by_id.setdefault(utterance.id, utterance)
    return tuple(by_id.values())
