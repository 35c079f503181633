"""A folder of media that is no corpus."""

from pathlib import Path

from emofuse.corpora.utterance import Utterance
from emofuse.errors import DataError
from emofuse.media.files import MEDIA_SUFFIXES, SOUND_SUFFIXES, media_files


def folder_utterances(path: Path) -> list[Utterance]:
    """Every media file in a folder and the folders in it as an utterance; its id is the relative path.

    Files are known by their extension, see `MEDIA_SUFFIXES`; hidden ones are passed over.

    Raises:
        DataError: It is no folder, or holds no media file.
    """
    if not path.is_dir():
        raise DataError(f"{path}: no such folder")
    files = media_files(path)
    if not files:
        raise DataError(f"{path}: no media file; known extensions: {' '.join(MEDIA_SUFFIXES)}")
    utterances = []
    for file in files:
        name, corpus = file.relative_to(path).as_posix(), path.resolve().name
        if file.suffix.lower() in SOUND_SUFFIXES:
            utterances.append(Utterance(name, corpus, audio=file))
        else:
            utterances.append(Utterance(name, corpus, video=file))
    return utterances
