"""Where the utterances of a recording are and what was said: annotations, transcripts, recognition, voice activity."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from emofuse.errors import DataError
from emofuse.media.annotations import read_segments
from emofuse.media.recognition import Recogniser, recognise
from emofuse.media.segment import Segment, Word, assign_words, clip_segments, in_order
from emofuse.media.sound import Sound
from emofuse.media.transcript import Transcript, merge_cues, read_transcript
from emofuse.media.voice import VoiceConfig, find_speech, speech_probabilities

SHORT_S = 6.0
"""A recording of at most this length is one utterance, from its first speech to its last."""

AUDIBLE = 1e-3
"""Largest amplitude below which a recording counts as silent: 60 dB under full scale."""

VIDEO_STEP_S = 5.0
"""Length of the stretches that stand for utterances in a video without sound."""


REACH_S = 0.5
"""A word so near to an utterance belongs to it: the times of recognisers and subtitles are no better."""

N_SAID = 3
"""Segments left out or cut that are named one by one; of more, only how many there are is said."""


@dataclass(frozen=True)
class Sources:
    """What the user gave beside the recording. The first of these that is there decides where utterances are.

    Attributes:
        segments: File of annotated times: csv, RTTM, TextGrid or ELAN.
        transcript: File of words, with times (SRT, WebVTT, Whisper's JSON) or without (txt).
        text: The words of the whole recording, which is taken as one utterance.
        whole: Take the recording as one utterance whatever else is known.
        recogniser: Finds the words where none are given.
        voice: How voice activity becomes utterances.
    """

    segments: str | Path | None = None
    transcript: str | Path | None = None
    text: str | None = None
    whole: bool = False
    recogniser: Recogniser | None = None
    voice: VoiceConfig = field(default_factory=VoiceConfig)


@dataclass
class Utterances:
    """Utterances found in a recording.

    Attributes:
        segments: In order of time.
        voiced: False when nobody was heard to speak, so that what is said about them is doubtful.
        problems: What the user should know, a line each.
    """

    segments: list[Segment]
    voiced: bool = True
    problems: list[str] = field(default_factory=list)


def find_utterances(
    recording: str | None,
    sound: Sound | None,
    duration_s: float,
    sources: Sources,
    seen: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> Utterances:
    """The utterances of a recording with what is known of their words.

    Args:
        recording: Its name, which chooses its part of an annotation of several recordings.
        sound: Its sound; None when it has none.
        duration_s: Its length.
        sources: What else was given.
        seen: Whether there is a picture to judge by: then a silent one is judged, stretch by stretch.
        on_progress: Called with the seconds that recognition has done.

    Raises:
        DataError: A file that was given is malformed, or nothing in it lies within the recording.
    """
    transcript = None if sources.transcript is None else read_transcript(Path(sources.transcript))
    found = _places(recording, sound, duration_s, sources, transcript, seen)
    if sources.segments is not None and transcript is not None and transcript.segments:
        found.segments, n_lost = _say(found.segments, transcript)
        if n_lost:
            found.problems.append(f"{sources.transcript}: {n_lost} of its words lie in no segment, left out")
    if sources.recogniser is not None and sound is not None:
        found.segments = add_words(found.segments, sound, sources.recogniser, on_progress)
    return found


def add_words(
    segments: list[Segment], sound: Sound, recogniser: Recogniser, on_progress: Callable[[float], None] | None = None
) -> list[Segment]:
    """The utterances in order of time, with the words that are heard where none are known."""
    wordless = [s for s in segments if s.text is None]
    if not wordless:
        return segments
    words = recognise(sound, wordless, recogniser, on_progress)
    # Words of a pause may be nearest to an utterance whose words are known: it keeps its own.
    ordered = in_order(segments)
    spoken = assign_words(ordered, words, REACH_S)
    return [s if old.text is None else old for old, s in zip(ordered, spoken, strict=True)]


def _places(
    recording: str | None,
    sound: Sound | None,
    duration_s: float,
    sources: Sources,
    transcript: Transcript | None,
    seen: bool,
) -> Utterances:
    """Where the utterances are, with the words that come along."""
    text = sources.text if transcript is None else transcript.text
    if sources.whole:
        words = () if transcript is None else tuple(w for s in transcript.segments for w in s.words)
        return Utterances([Segment(0.0, duration_s, None, text, words)])
    if sources.segments is not None:
        return _within(read_segments(Path(sources.segments), recording), duration_s, sources.segments)
    if transcript is not None and transcript.segments:
        assert sources.transcript is not None
        return _within(merge_cues(transcript.segments), duration_s, sources.transcript)
    if text is not None:
        return Utterances([Segment(0.0, duration_s, None, text)])
    found = Utterances([]) if sound is None else _spoken(sound, duration_s, sources.voice)
    if not found.segments and seen:
        edges = np.linspace(0, duration_s, max(1, round(duration_s / VIDEO_STEP_S)) + 1)
        found.segments = [Segment(float(a), float(b)) for a, b in pairwise(edges)]
    return found


def _within(segments: list[Segment], duration_s: float, source: str | Path) -> Utterances:
    kept, problems = clip_segments(segments, duration_s)
    if not kept:
        reason = problems[0] if problems else "it names no utterance"
        raise DataError(f"{source}: nothing in it lies within the recording of {duration_s:.2f} s ({reason})")
    if len(problems) > N_SAID + 1:
        problems = [*problems[:N_SAID], f"and {len(problems) - N_SAID} segments more"]
    return Utterances(kept, problems=[f"{source}: {p}" for p in problems])


def _spoken(sound: Sound, duration_s: float, voice: VoiceConfig) -> Utterances:
    """Utterances by voice activity; an audible short clip is one even if it is no speech, as a cry or a laugh is."""
    loudest = 0.0

    def listened() -> Iterator[np.ndarray]:
        nonlocal loudest
        for block in sound.blocks():
            loudest = max(loudest, float(np.abs(block).max(initial=0.0)))
            yield block

    segments = find_speech(speech_probabilities(listened()), duration_s, voice)
    if segments and duration_s <= SHORT_S:
        return Utterances([Segment(segments[0].start_s, segments[-1].end_s)])
    if segments:
        return Utterances(segments)
    if loudest < AUDIBLE:
        return Utterances([], problems=["silent"])
    if duration_s <= SHORT_S:
        return Utterances([Segment(0.0, duration_s)], voiced=False, problems=["no speech found, taken as a whole"])
    return Utterances([], voiced=False, problems=["no speech found; --whole takes it as one utterance all the same"])


def _say(segments: list[Segment], transcript: Transcript) -> tuple[list[Segment], int]:
    """Annotated segments with the words of a timed transcript, and how many words lie in none.

    A cue without word times is spread over its time.
    """
    words: list[Word] = []
    for cue in transcript.segments:
        spoken = (cue.text or "").split()
        step = (cue.end_s - cue.start_s) / max(len(spoken), 1)
        words += cue.words or [
            Word(w, cue.start_s + i * step, cue.start_s + (i + 1) * step) for i, w in enumerate(spoken)
        ]
    timed = all(cue.words for cue in transcript.segments)
    ordered = in_order(segments)
    said = assign_words(ordered, words, REACH_S)
    n_lost = len(words) - sum(len(new.words) for old, new in zip(ordered, said, strict=True) if new is not old)
    # Times that were spread evenly place words in utterances, but are not reported as if they were known.
    return (said if timed else [replace(s, words=old.words) for old, s in zip(ordered, said, strict=True)]), n_lost
