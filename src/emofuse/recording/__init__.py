"""A recording as its utterances: the sound, face and words of each, whether it lies in a file or in memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from emofuse.errors import DataError
from emofuse.features.lexical import split_words
from emofuse.media.audio import END_TOLERANCE_S, MIN_SECONDS, AudioSpool
from emofuse.media.segment import Segment, Word
from emofuse.media.sound import Sound
from emofuse.media.video import Frame, probe
from emofuse.recording.faces import FaceFinder
from emofuse.recording.utterances import AUDIBLE, Sources, find_utterances

__all__ = ["FaceFinder", "Progress", "Recording", "Sources", "Utterance", "find_recording", "open_recording"]

Pictures = tuple[np.ndarray | None, Callable[[float], Iterable[Frame]] | None]
"""Faces and frames of an utterance, as `Utterance` has them."""

Progress = Callable[[str, float], None]
"""Called with what is being done (``listening``, ``recognising``, ``predicting``) and the share of it that is done."""


@dataclass(frozen=True)
class Utterance:
    """What is at hand of one utterance.

    Attributes:
        segment: Its place in the recording; speaker, text and words where they are known.
        waveform: (n_samples,) in [-1, 1], mono at 16 kHz; None without sound.
        faces: (n_frames, 48, 48) grey values of the speaker's face; None when none was found.
        frames: Frames a second to the utterance's pictures; None without a picture.
    """

    segment: Segment
    waveform: np.ndarray | None = None
    faces: np.ndarray | None = None
    frames: Callable[[float], Iterable[Frame]] | None = None

    @cached_property
    def words(self) -> list[str]:
        """The words of the text."""
        return split_words(self.segment.text or "")

    @property
    def timed_words(self) -> tuple[Word, ...]:
        """The words with their times; empty where times are not known, or belong to other words than the text's."""
        return self.segment.words if len(self.segment.words) == len(self.words) else ()


@dataclass(frozen=True)
class Recording:
    """A recording whose utterances have been found.

    Attributes:
        source: The file, as it was named.
        duration_s: Its length in seconds.
        segments: Places of the utterances, in order of time.
        sound: Its sound; None when it has none.
        voiced: False when nobody was heard to speak.
        problems: What the user should know, a line each.
        look: The pictures of a segment, by its place and waveform; None where there is nothing to see.
    """

    source: str
    duration_s: float
    segments: list[Segment]
    sound: Sound | None
    voiced: bool = True
    problems: list[str] = field(default_factory=list)
    look: Callable[[Segment, np.ndarray | None], Pictures] | None = None

    def utterances(self) -> Iterator[Utterance]:
        """One by one, so that those of a long recording need not be in memory together."""
        for segment in self.segments:
            waveform = _part_of(self.sound, segment)
            faces, frames = (None, None) if self.look is None else self.look(segment, waveform)
            yield Utterance(segment, waveform, faces, frames)


def find_recording(
    source: str,
    sound: Sound | None,
    duration_s: float,
    sources: Sources,
    look: Callable[[Segment, np.ndarray | None], Pictures] | None = None,
    *,
    stem: str | None = None,
    tell: Progress | None = None,
) -> Recording:
    """Find the utterances of what is already open.

    Args:
        source: What to call it.
        sound: Its sound; None when it has none.
        duration_s: Its length.
        sources: What else is known of its utterances.
        look: See `Recording`.
        stem: Its name in an annotation of several recordings.
        tell: Called with the progress of recognition.

    Raises:
        DataError: It is too short, or see `find_utterances`.
    """
    if duration_s < MIN_SECONDS:
        raise DataError(f"{source}: {duration_s:.3g} s long, need at least {MIN_SECONDS:g} s")
    on_progress = None if tell is None else lambda s: tell("recognising", min(1.0, s / duration_s))
    found = find_utterances(stem, sound, duration_s, sources, seen=look is not None, on_progress=on_progress)
    return Recording(source, round(duration_s, 3), found.segments, sound, found.voiced, found.problems, look)


@contextmanager
def open_recording(
    path: Path,
    sources: Sources,
    finder: FaceFinder | None,
    needs: Sequence[str],
    tell: Progress | None = None,
) -> Iterator[Recording]:
    """A file with its utterances found; its decoded sound is removed on leaving.

    Args:
        path: Audio or video file.
        sources: What else is known of its utterances.
        finder: Finds faces in its pictures; None: they are not looked at.
        needs: The modalities that will be used, for messages.
        tell: Called now and then.

    Raises:
        DataError: The file cannot be read, or has nothing of what is needed; the message says why.
    """
    info = probe(path)
    sees = info.has_video and finder is not None
    if not info.has_audio and not sees and sources.text is None and sources.transcript is None:
        raise DataError(f"{path}: no sound in it, and the model needs {' or '.join(needs)}")
    duration = max(info.duration_s or 0, 1e-9)
    listened = None if tell is None else lambda s: tell("listening", min(1.0, s / duration))
    spool = AudioSpool(path, listened) if info.has_audio else None

    def look(segment: Segment, waveform: np.ndarray | None) -> Pictures:
        assert finder is not None
        return finder.faces(path, segment, waveform), partial(finder.frames, path, segment)

    with spool if spool is not None else nullcontext() as sound:
        longest = max(0.0 if sound is None else sound.duration_s, info.duration_s or 0.0)
        found = find_recording(str(path), sound, longest, sources, look if sees else None, stem=path.stem, tell=tell)
        damage = [] if spool is None or spool.problem is None else [spool.problem]
        yield replace(found, problems=[*damage, *found.problems])


def _part_of(sound: Sound | None, segment: Segment) -> np.ndarray | None:
    """The sound of an utterance; None where it is silent, or has ended before, as in a video that goes on."""
    if sound is None or segment.start_s > sound.duration_s - MIN_SECONDS:
        return None
    waveform = sound.read(segment.start_s, min(segment.end_s, sound.duration_s + END_TOLERANCE_S))
    return waveform if np.abs(waveform).max(initial=0.0) >= AUDIBLE else None
