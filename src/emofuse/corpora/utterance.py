"""What every corpus reader returns: utterances and the feature arrays that came with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Utterance:
    """One utterance (or one face image, or one comment) of a corpus.

    Attributes:
        id: Unique within the corpus.
        corpus: Name of the corpus as in `CORPORA`.
        label: A name of `emofuse.labels`, or None when unlabelled or without agreement.
        original_label: The corpus' own code for the label.
        dialogue: Conversation or video it belongs to; None for isolated clips.
        index: Position within the dialogue, from 0; the order in which it was said.
        speaker: Unique within the corpus (IEMOCAP: ``Ses01M``), None when unknown.
        session: Recording session, None when the corpus has none.
        sex: ``female``, ``male`` or None.
        split: Official split: ``train``, ``dev``, ``test`` or None when the corpus has none.
        start_s, end_s: Place in the dialogue's recording, in seconds.
        text: Transcript; None when not known, never empty.
        audio, video, image: Media files. `audio` may be a file that holds the whole dialogue only
            if `media_start_s`/`media_end_s` are set: the part of the file to read, in seconds.
        video_start_s, video_end_s: The part of `video` to read where it is another one than of
            `audio` (IEMOCAP: a wav file an utterance, an avi file a dialogue).
        tile: Index of the face in a contact sheet, row-major (FER+), else None.
        votes: Annotators' votes per label name, where published (FER+); one for each label where an utterance may have
            several (GoEmotions).
        features: Modality (``speech``, ``visual``, ``text``) to the row of `Corpus.features`.
    """

    id: str
    corpus: str
    label: str | None = None
    original_label: str | None = None
    dialogue: str | None = None
    index: int = 0
    speaker: str | None = None
    session: str | None = None
    sex: str | None = None
    split: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    text: str | None = None
    audio: Path | None = None
    video: Path | None = None
    image: Path | None = None
    media_start_s: float | None = None
    media_end_s: float | None = None
    video_start_s: float | None = None
    video_end_s: float | None = None
    tile: int | None = None
    votes: Mapping[str, int] | None = None
    features: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    """A corpus as a table of utterances plus feature arrays.

    Attributes:
        name: Name as in `CORPORA`.
        utterances: In the corpus' own order; utterances of a dialogue are in order of `index`.
        features: Modality to array, float32. ``(n_rows, dim)`` for one vector an utterance, or
            ``(n_rows, n_steps, dim)`` for padded sequences. NaN stands for "could not be measured"
            only where `nan_allowed` names the modality.
        feature_names: Modality to column names, where known.
        nan_allowed: Modalities whose arrays may hold NaN (Praat values of unvoiced clips).
        licence: Under what terms the corpus is given out.
    """

    name: str
    utterances: tuple[Utterance, ...]
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    feature_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    nan_allowed: tuple[str, ...] = ()
    licence: str = ""
