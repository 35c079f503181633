"""What a feature of an utterance is computed from: a part of a file, or a text; its key, and its reading."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emofuse.corpora.utterance import Utterance
from emofuse.errors import ConfigError, DataError
from emofuse.features.extractor import Extractor
from emofuse.features.store import FeatureStore, media_key, text_key
from emofuse.media.audio import read_audio


@dataclass(frozen=True)
class Source:
    """What one feature of one utterance is computed from: a part of a file, or a text.

    `half_of` names an utterance of IEMOCAP, whose pictures show two people: its speaker's half is taken.
    """

    id: str
    corpus: str
    path: Path | None = None
    start_s: float | None = None
    end_s: float | None = None
    text: str | None = None
    half_of: str | None = None


def source_of(u: Utterance, modality: str) -> Source:
    """What a feature of a modality is computed from.

    Raises:
        DataError: The utterance has no such file or text.
    """
    if modality == "text":
        if not (u.text and u.text.strip()):
            raise DataError("no text, need a transcript")
        return Source(u.id, u.corpus, text=u.text)
    if modality == "speech" and u.audio is not None:
        return Source(u.id, u.corpus, u.audio, u.media_start_s, u.media_end_s)
    if u.video is None:
        raise DataError("no audio or video file" if modality == "speech" else "no video file")
    own_part = (u.video_start_s, u.video_end_s)
    part = (u.media_start_s, u.media_end_s) if own_part == (None, None) else own_part
    two_people = modality == "visual" and u.corpus == "iemocap"
    return Source(u.id, u.corpus, u.video, *part, half_of=u.id if two_people else None)


def source_key(source: Source, store: FeatureStore) -> str:
    """The source's key in a store: of what it contains, wherever it lies.

    Raises:
        DataError: The file is missing or cannot be read.
    """
    if source.path is None:
        return text_key(source.text or "")
    return media_key(store.file_sha256(source.path), source.start_s, source.end_s, source.half_of)


def read_source(source: Source, extractor: Extractor) -> Any:
    """The extractor's input; a video's frames are decoded while it takes them.

    Raises:
        DataError: The file cannot be read, or the part is not within it.
        ConfigError: A visual extractor does not say how many frames it wants.
    """
    if source.path is None:
        return source.text
    if extractor.modality == "speech":
        return read_audio(source.path, source.start_s, source.end_s)
    if extractor.frame_rate is None:
        raise ConfigError(f"{extractor.name}: no frame_rate; a visual extractor must name the frames a second it wants")
    from emofuse.media.video import read_frames  # loads OpenCV, which the other modalities do not need

    frames = read_frames(source.path, extractor.frame_rate, source.start_s or 0.0, source.end_s)
    if source.half_of is None:
        return frames
    from emofuse.features.faces import speaker_half

    return (speaker_half(frame, source.half_of) for frame in frames)
