"""Transcripts, with times or without: SRT and WebVTT subtitles, Whisper's JSON, plain text."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emofuse.errors import DataError
from emofuse.media.segment import (
    Segment,
    Word,
    assign_words,
    check_span,
    group_words,
    joined,
    parse_seconds,
    read_text,
    separate,
)
from emofuse.media.subtitles import is_subtitles, read_subtitles, spoken

EXTENSIONS = (".srt", ".vtt", ".json", ".txt")
"""Names of transcripts end so; what decides is their content."""

_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’»)\]]*$")


@dataclass(frozen=True)
class Transcript:
    """The words of a recording.

    Attributes:
        segments: Its utterances in order of time; empty when the file holds no times.
        text: All its words; never empty.
    """

    segments: tuple[Segment, ...]
    text: str


def read_transcript(path: Path) -> Transcript:
    """Read the words of a recording, with their times where the file holds times.

    Styling, and what is sounded but not spoken (``[MUSIC]``, ``(laughs)``, lines with ♪), is left out, and
    a cue of nothing else too. The speaker is a voice tag ``<v Anna>``, a ``[SPEAKER_00]:`` or a name and
    a colon at a line's start: one in capitals, a ``Speaker 1``, or a capitalised one that comes twice. In the
    subtitles that YouTube rolls up, each line counts once and words get their times. Cues are sorted;
    overlaps of one speaker are removed, see `separate`.

    Of JSON these forms are known: openai-whisper, faster-whisper and whisperX (``segments``), the
    verbose answer of OpenAI's service (``words``), whisper.cpp (``transcription``).

    Args:
        path: The file; what it holds is told from its content.

    Raises:
        DataError: The file cannot be read, holds no words, or a time is bad; the message names the row.
    """
    text = read_text(path)
    if path.suffix.lower() == ".json" or text.lstrip().startswith(("{", "[{")):
        segments = _read_whisper(path, text)
    elif path.suffix.lower() in (".srt", ".vtt") or is_subtitles(text):
        segments = read_subtitles(path, text)
    else:
        return Transcript((), " ".join(text.split()))  # read_text refuses an empty one
    segments = separate(segments)
    words = " ".join(s.text for s in segments if s.text)
    if not segments:
        raise DataError(f"{path}: no words with times; need cues as 00:00:01,000 --> 00:00:02,500, or Whisper's JSON")
    return Transcript(tuple(segments), words)


def merge_cues(segments: Sequence[Segment], max_gap_s: float = 0.3, max_s: float = 10.0) -> list[Segment]:
    """Join cues that continue a sentence: subtitles are cut for reading, not where utterances end.

    A cue is joined to the one before when that one's text does not end a sentence, both have the same
    speaker, the silence between them is shorter than `max_gap_s`, and both together last at most `max_s`.
    Cues that overlap are not joined: two people speak.

    Args:
        segments: In order of time, as `read_transcript` gives them.
        max_gap_s: In seconds.
        max_s: In seconds; the longest stretch that a model sees at once.
    """
    result: list[Segment] = []
    for segment in segments:
        before = result[-1] if result else None
        if (
            before is not None
            and before.text
            and segment.text
            and before.speaker == segment.speaker
            and not _SENTENCE_END.search(before.text)
            and -1e-3 <= segment.start_s - before.end_s < max_gap_s
            and segment.end_s - before.start_s <= max_s
        ):
            result[-1] = joined(before, segment)
        else:
            result.append(segment)
    return result


def _read_whisper(path: Path, text: str) -> list[Segment]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from None
    content = {"segments": content} if isinstance(content, list) else content
    if not isinstance(content, dict) or not content.keys() & {"segments", "transcription", "words"}:
        raise DataError(f"{path}: need the JSON of Whisper, with segments or transcription")
    key = "transcription" if "transcription" in content else "segments"
    segments = [s for where, item in _items(path, content, key) if (s := _whisper_segment(item, where)) is not None]
    words = _whisper_words(path, content)
    if not words:
        return segments
    return assign_words(segments, words) if segments else group_words(words)


def _items(where: Path | str, content: dict[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects of a list in JSON, each with its place."""
    found = content.get(key) or []
    if not isinstance(found, list):
        raise DataError(f"{where}: {key} is no list")
    for index, item in enumerate(found, start=1):
        place = f"{where}: {key} {index}"
        if not isinstance(item, dict):
            raise DataError(f"{place}: found {str(item)[:40]!r}, need an object with start, end and text")
        yield place, item


def _whisper_segment(item: dict[str, Any], where: str) -> Segment | None:
    """One utterance; None without words, or without length, as a recogniser's repeats at the end have it."""
    offsets = item.get("offsets")
    if isinstance(offsets, dict):  # whisper.cpp
        start_s, end_s = (parse_seconds(offsets.get(key), where, key, per_second=1000) for key in ("from", "to"))
    else:
        start_s, end_s = (parse_seconds(item.get(key), where, key) for key in ("start", "end"))
    text, speaker = item.get("text"), item.get("speaker")
    if not isinstance(text, str | None) or not isinstance(speaker, str | None):
        raise DataError(f"{where}: text and speaker need to be strings")
    said = spoken(text or "")
    if not said or start_s == end_s:
        return None
    check_span(start_s, end_s, where)
    return Segment(start_s, end_s, speaker or None, said, tuple(_whisper_words(where, item)))


def _whisper_words(where: Path | str, content: dict[str, Any]) -> list[Word]:
    """Words with times; those that an aligner found no time for are left out."""
    words: list[Word] = []
    for place, item in _items(where, content, "words"):
        said = spoken(str(item.get("word") or item.get("text") or ""))
        if not said or item.get("start") is None or item.get("end") is None:
            continue
        start_s, end_s = (parse_seconds(item[key], place, key) for key in ("start", "end"))
        if end_s < start_s:
            raise DataError(f"{place}: ends at {end_s:.3f} s, before its start at {start_s:.3f} s")
        words.append(Word(said, start_s, end_s))
    return sorted(words, key=lambda w: w.start_s)
