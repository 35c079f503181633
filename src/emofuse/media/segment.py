"""A stretch of a recording: what transcripts, annotations and voice activity have in common.

The readers of those files share what is below the two classes, so that a bad encoding or a bad time
is refused in the same words everywhere.
"""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from emofuse.errors import DataError
from emofuse.media.audio import END_TOLERANCE_S, MIN_SECONDS

MAX_BYTES = 100_000_000
"""Largest transcript or annotation that is read; a day of Whisper's JSON with words is less."""

PAUSE_S = 0.5
"""Silence between two words that parts two utterances, where only words have times."""

_EPSILON_S = 1e-6  # 0.3 - 0.2 is less than 0.1
_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe\x00\x00": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class Word:
    """One spoken word and when it was said, in seconds."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Segment:
    """One utterance's place in a recording, and what is known of it.

    Attributes:
        start_s, end_s: In seconds; ``0 <= start_s < end_s``.
        speaker: Who speaks; None when not known.
        text: The words; None when not known, never empty.
        words: The words with their times, in order; empty when the times are not known.
    """

    start_s: float
    end_s: float
    speaker: str | None = None
    text: str | None = None
    words: tuple[Word, ...] = ()


def clip_segments(segments: Iterable[Segment], duration_s: float) -> tuple[list[Segment], list[str]]:
    """Segments that can be used with a recording of a given length.

    Those that start at or beyond its end, or are shorter than `MIN_SECONDS` once cut, are left out. One
    that reaches over the end is cut there; that is a problem from `END_TOLERANCE_S` on, since annotated
    times are rounded and recognisers overshoot.

    Args:
        segments: In any order, which is kept.
        duration_s: Length of the recording in seconds.

    Returns:
        The segments kept, and one line a problem, without the file's name.
    """
    kept: list[Segment] = []
    problems: list[str] = []
    for segment in segments:
        place = f"segment {segment.start_s:.3f}-{segment.end_s:.3f} s"
        if segment.start_s >= duration_s:
            problems.append(f"{place}: starts beyond the end at {duration_s:.3f} s, left out")
            continue
        part = segment if segment.end_s <= duration_s else _cut(segment, duration_s)
        if part.end_s - part.start_s < MIN_SECONDS - _EPSILON_S:
            problems.append(f"{place}: {part.end_s - part.start_s:.3f} s long, need {MIN_SECONDS:g} s, left out")
            continue
        if segment.end_s > duration_s + END_TOLERANCE_S:
            problems.append(f"{place}: reaches over the end at {duration_s:.3f} s, cut there")
        kept.append(part)
    return kept, problems


def in_order(segments: Iterable[Segment]) -> list[Segment]:
    """Segments sorted by start, then end."""
    return sorted(segments, key=lambda s: (s.start_s, s.end_s))


def separate(segments: Iterable[Segment]) -> list[Segment]:
    """Segments in order of time, without overlap among those of one speaker.

    Of two that overlap the first ends where the second starts; one within another is joined with it,
    text and all. Different speakers, and unknown ones, may speak at once.
    """
    result: list[Segment] = []
    last: dict[str, int] = {}
    for segment in in_order(segments):
        index = last.get(segment.speaker) if segment.speaker is not None else None
        if index is not None and segment.start_s < result[index].end_s:
            before = result[index]
            if segment.end_s <= before.end_s or segment.start_s == before.start_s:
                result[index] = joined(before, segment)
                continue
            result[index] = _cut(before, segment.start_s)
        if segment.speaker is not None:
            last[segment.speaker] = len(result)
        result.append(segment)
    return result


def joined(first: Segment, second: Segment) -> Segment:
    """One segment from two of one speaker, `first` the earlier one."""
    texts = [s.text for s in (first, second) if s.text]
    # Words of a part only would claim to be all of them.
    complete = all(s.words or not s.text for s in (first, second))
    words = sorted((*first.words, *second.words), key=lambda w: w.start_s) if complete else ()
    end_s = max(first.end_s, second.end_s)
    return Segment(first.start_s, end_s, first.speaker, " ".join(texts) or None, tuple(words))


def assign_words(segments: Sequence[Segment], words: Iterable[Word], reach_s: float = 0.0) -> list[Segment]:
    """Segments in order of time, each with the words whose middle lies in it.

    A segment without text takes the words as its text. Where segments overlap, the first one gets the word.
    Of a word between segments, the nearest one that is less than `reach_s` away gets it; others are left out.
    """
    ordered = in_order(segments)
    taken: list[list[Word]] = [[] for _ in ordered]
    first = 0
    for word in sorted(words, key=lambda w: w.start_s + w.end_s):
        middle = (word.start_s + word.end_s) / 2
        while first < len(ordered) and ordered[first].end_s <= middle - reach_s:
            first += 1
        chosen, least = None, reach_s
        for index in range(first, len(ordered)):
            start_s, end_s = ordered[index].start_s, ordered[index].end_s
            if start_s >= middle + reach_s and start_s > middle:
                break
            if start_s <= middle < end_s:
                chosen = index
                break
            if (away := max(start_s - middle, middle - end_s)) < least:
                chosen, least = index, away
        if chosen is not None:
            taken[chosen].append(word)
    return [
        replace(segment, words=tuple(own), text=segment.text or " ".join(w.text for w in own)) if own else segment
        for segment, own in zip(ordered, taken, strict=True)
    ]


def group_words(words: Iterable[Word], speaker: str | None = None, pause_s: float = PAUSE_S) -> list[Segment]:
    """Utterances from words alone: a silence of `pause_s` parts two of them."""
    groups: list[list[Word]] = []
    end_s = -math.inf
    for word in sorted(words, key=lambda w: w.start_s):
        if word.start_s - end_s >= pause_s:
            groups.append([])
        groups[-1].append(word)
        end_s = max(end_s, word.end_s)
    spans = [(group, group[0].start_s, max(w.end_s for w in group)) for group in groups]
    return [
        Segment(start, end, speaker, " ".join(w.text for w in group), tuple(group))
        for group, start, end in spans
        if start < end
    ]


def parse_seconds(value: object, where: str, name: str, per_second: float = 1.0) -> float:
    """A time from a file, in seconds.

    Args:
        value: As the file gives it: a number, or a string that holds one.
        where: File and row, for the message.
        name: What the value is called there.
        per_second: Units of `value` in a second: 1000 for milliseconds.

    Raises:
        DataError: It is no number, NaN, infinite or negative.
    """
    number = math.nan
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            number = float(value) / per_second
    if not 0 <= number < math.inf:
        shown = repr(value)
        shown = shown if len(shown) <= 40 else f"{shown[:40]}..."
        raise DataError(f"{where}: {name} is {shown}; need a time, a number from 0 on")
    return number


def check_span(start_s: float, end_s: float, where: str) -> None:
    """Refuse a stretch that does not end after its start.

    Raises:
        DataError: As said.
    """
    if end_s <= start_s:
        raise DataError(f"{where}: starts at {start_s:.3f} s and ends at {end_s:.3f} s; need start < end")


def read_bytes(path: Path) -> bytes:
    """Content of a transcript or annotation.

    Raises:
        DataError: The file is missing, a folder, empty, larger than `MAX_BYTES` or cannot be read.
    """
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise DataError(f"{path}: a folder, not a file")
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size / 1e6:.0f} MB, need at most {MAX_BYTES / 1e6:.0f} MB of text")
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if not content.strip():
        raise DataError(f"{path}: empty file")
    return content


def read_text(path: Path) -> str:
    r"""Text of a file in UTF-8, UTF-16, UTF-32 or, failing these, cp1252; line ends become ``\n``.

    Raises:
        DataError: As `read_bytes`; or the file is not text, or in another encoding.
    """
    text = _decoded(read_bytes(path), path).removeprefix("\ufeff")
    if "\0" in text:
        raise DataError(f"{path}: not a text file")
    if not text.strip():
        raise DataError(f"{path}: empty file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decoded(content: bytes, path: Path) -> str:
    marked = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
    if marked is None and b"\0" in content[:1000]:
        # UTF-16 without its mark: in Western text every other byte is 0.
        zeros = {"utf-16-be": content[:1000:2].count(0), "utf-16-le": content[1:1000:2].count(0)}
        marked = max(zeros, key=lambda name: zeros[name])
        if zeros[marked] < 0.4 * min(len(content), 1000) or len(content) % 2:
            raise DataError(f"{path}: not a text file")
    try:
        return content.decode(marked or "utf-8")
    except UnicodeDecodeError:
        if marked and marked != "utf-8":
            raise DataError(f"{path}: not a text file ({marked} cannot be decoded); save it as UTF-8") from None
    # Bytes that happen to be valid UTF-8 are rare in cp1252: this is UTF-8 with a few broken ones.
    loose = content.decode("utf-8", errors="replace")
    broken = loose.count("\ufffd")
    if sum(c > "\x7f" for c in loose) >= 2 * broken:
        return loose
    western = content.decode("cp1252", errors="replace")
    letters = [c for c in western if c.isalpha()]
    accented = sum(c > "\x7f" for c in letters)
    if "\ufffd" in western or accented > max(10, 0.3 * len(letters)):
        # As Cyrillic or Chinese looks in cp1252: no language has that many accents.
        raise DataError(f"{path}: the encoding is neither UTF-8, UTF-16 nor cp1252; save it as UTF-8")
    return western


def _cut(segment: Segment, end_s: float) -> Segment:
    """A segment that ends earlier; the times of its words are cut too, none is lost."""
    words = (Word(w.text, min(w.start_s, end_s), min(w.end_s, end_s)) for w in segment.words)
    return replace(segment, end_s=end_s, words=tuple(words))
