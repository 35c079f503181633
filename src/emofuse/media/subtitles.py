"""Subtitles, SRT and WebVTT, as utterances with speakers.

The parser is our own: pysubs2 takes WebVTT comments for speech, passes over a time that it cannot read, and accepts a
cue that ends before it starts, so it could not name what is wrong.
"""

import html
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from emofuse.errors import DataError
from emofuse.media.segment import Segment, Word, check_span

_STAMP = r"(?:(\d{1,6}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,9}))?"
_TIMING = re.compile(rf"\s*{_STAMP}[ \t]*-->[ \t]*{_STAMP}(?:\s.*)?")
_INLINE = re.compile(rf"<{_STAMP}>")
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s([^<>]+)>")
_TAG = re.compile(r"</?[a-zA-Z0-9][^<>]*>|\{\\[^{}]*\}")
_SOUND = re.compile(r"\[[^\[\]]*\]|\([^()]*\)")
_ROLLED_LINES = 4  # YouTube shows two
_MUSIC = frozenset("♪♫♩♬")
_TURN = re.compile(r"^\s*(?:[-–—‐]\s+|[-–—‐](?=[^\W\d])|>>+\s*)+")
_OWN = re.compile(r"^\[[^\[\]%]{1,60} \d{1,3}%\][ \t]*")  # [HAPPY 67%], as `emofuse predict --format srt` writes
_NAME = re.compile(r"^(?P<name>[^\s:\[][^:\n]{0,39}):(?:[ \t]+(?P<rest>.*))?$", re.DOTALL)
_BRACKETED_NAME = re.compile(r"^\[([^\[\]]{1,40})\]:\s*")
_CODE = re.compile(r"(?:speaker|spk|participant|interviewer|interviewee)[ _-]?\w{0,3}", re.IGNORECASE)


def is_subtitles(text: str) -> bool:
    """Whether a text begins as WebVTT, or with times as subtitles have them."""
    return text.startswith("WEBVTT") or any(map(_TIMING.fullmatch, text.split("\n")[:20]))


def read_subtitles(path: Path, text: str) -> list[Segment]:
    """Utterances of SRT or WebVTT in the order of the file, one a voice; see `emofuse.media.transcript`.

    Raises:
        DataError: A time is bad; the message names the row.
    """
    vtt = text.startswith("WEBVTT") or path.suffix.lower() == ".vtt"
    cues = list(_cues(path, text, vtt))
    return _voiced(_unrolled(cues) if vtt else cues)


@dataclass(frozen=True)
class _Cue:
    start_s: float
    end_s: float
    where: str
    lines: tuple[str, ...] = ()


def _cues(path: Path, text: str, vtt: bool) -> Iterator[_Cue]:
    """Cues of a subtitle file as they stand, in its order."""
    cue: _Cue | None = None
    lines: list[str] = []
    above = ""
    reading = False  # in WebVTT an empty line ends a cue; what follows may be a comment, a style, a name
    for row, line in enumerate(text.split("\n"), start=1):
        match = _TIMING.fullmatch(line) if "-->" in line else None
        if match is not None:
            if cue is not None:
                # The number of a cue stands right above its times.
                numbered = reading and lines and above.strip().isdecimal()
                yield replace(cue, lines=tuple(lines[:-1] if numbered else lines))
            cue, lines, reading = _timed(match, f"{path}: row {row}"), [], True
        elif "-->" in line and (not above.strip() or above.strip().isdecimal()):
            raise DataError(f"{path}: row {row}: {line.strip()[:60]!r}; need the form 00:00:01,000 --> 00:00:02,500")
        elif vtt and not line:
            reading = False
        elif reading:
            lines.append(line)
        above = line
    if cue is not None:
        yield replace(cue, lines=tuple(lines))


def _timed(match: re.Match[str], where: str) -> _Cue:
    start_s, end_s = _stamp(match.groups()[:4], where), _stamp(match.groups()[4:], where)
    check_span(start_s, end_s, where)
    return _Cue(start_s, end_s, where)


def _stamp(groups: Sequence[str | None], where: str) -> float:
    hours, minutes, seconds = (int(part or 0) for part in groups[:3])
    if minutes > 59 or seconds > 59:
        raise DataError(f"{where}: a time with {minutes} minutes and {seconds} seconds; need at most 59")
    # Whole nanoseconds, divided once: a sum of decimals is off in the last digit.
    fraction = int((groups[3] or "0").ljust(9, "0"))
    return (((hours * 60 + minutes) * 60 + seconds) * 10**9 + fraction) / 10**9


def _unrolled(cues: list[_Cue]) -> list[_Cue]:
    """Cues without the lines that YouTube's own captions repeat from the cue before as they roll up."""
    if not any(_INLINE.search(line) for cue in cues for line in cue.lines):
        return cues
    result: list[_Cue] = []
    shown: list[str] = []
    for cue in cues:
        lines = [line for line in cue.lines if line.strip()]
        plain = [_plain(line) for line in lines]
        most = min(len(shown), len(plain), _ROLLED_LINES)
        repeated = next((n for n in range(most, 0, -1) if shown[-n:] == plain[:n]), 0)
        shown = plain or shown
        if lines[repeated:]:
            result.append(replace(cue, lines=tuple(lines[repeated:])))
    return result


def _plain(line: str) -> str:
    """A line without styling."""
    return html.unescape(_TAG.sub("", line)).strip()


def spoken(text: str) -> str:
    """What is spoken of a text, without notes of sounds; empty when nothing is."""
    said = " ".join(_SOUND.sub(" ", text).split())
    return said if any(c.isalnum() for c in said) else ""


@dataclass(frozen=True)
class _Line:
    """A line of a cue: `is_settled` when its speaker is known, or known not to be in its text."""

    text: str
    speaker: str | None = None
    is_settled: bool = False
    is_own: bool = False


def _lines(cue: _Cue) -> Iterator[_Line]:
    pieces = _VOICE.split("\n".join(cue.lines))
    for index, piece in enumerate(pieces[::2]):
        voice = _plain(pieces[2 * index - 1]) if index else None
        for line in piece.split("\n"):
            if _MUSIC.isdisjoint(line):
                yield _line(_plain(line)) if voice is None else _Line(_plain(line), voice, True)
                voice = None


def _line(text: str) -> _Line:
    own = _OWN.match(text)
    if own is not None:
        text = text[own.end() :]
        name = _NAME.match(text)
        if name is None or _TURN.match(text):
            return _Line(_TURN.sub("", text), None, True, True)
        return _Line(name["rest"] or "", name["name"], True, True)
    text = _TURN.sub("", text)
    bracketed = _BRACKETED_NAME.match(text)
    return _Line(text[bracketed.end() :], bracketed[1], True) if bracketed else _Line(text)


def _voiced(cues: Sequence[_Cue]) -> list[Segment]:
    """Utterances of cues: one a voice."""
    read = [list(_lines(cue)) for cue in cues]
    open_names = (_NAME.match(line.text) for lines in read for line in lines if not line.is_settled)
    times = Counter(match["name"] for match in open_names if match)
    segments: list[Segment] = []
    for cue, lines in zip(cues, read, strict=True):
        voices: list[tuple[str | None, list[str]]] = []
        for line in lines:
            match = None if line.is_settled else _NAME.match(line.text)
            speaker, text = line.speaker, line.text
            if match and _is_name(match["name"], match["rest"] or "", times[match["name"]]):
                speaker, text = match["name"], match["rest"] or ""
            if speaker is not None or not voices:
                voices.append((speaker, []))
            voices[-1][1].append(text)
        words = _inline_words(cue) if len(voices) == 1 else ()
        for speaker, texts in voices:
            text = spoken(" ".join(texts))
            if text or any(line.is_own for line in lines):
                segments.append(Segment(cue.start_s, cue.end_s, speaker, text or None, words))
    return segments


def _is_name(name: str, rest: str, times: int) -> bool:
    """Whether what stands before a colon is a speaker's name; `times`: how many lines start with it."""
    parts = name.split()
    if len(parts) > 3 or any(c in name for c in '!?,;"'):
        return False
    if _CODE.fullmatch(name) or (times >= 2 and all(part[0].isupper() for part in parts)):
        return True
    # Where all is in capitals, capitals say nothing.
    return len(name) > 1 and name.isupper() and (not rest or not rest.isupper())


def _inline_words(cue: _Cue) -> tuple[Word, ...]:
    """Words of a cue with times within its text, ``so<00:00:01.500><c> what</c>``; none without."""
    text = " ".join(cue.lines)
    stamps = list(_INLINE.finditer(text))
    times = [cue.start_s, *(_stamp(m.groups(), cue.where) for m in stamps), cue.end_s]
    if not stamps or times != sorted(times):
        return ()
    cuts = [0, *(position for m in stamps for position in m.span()), len(text)]
    words: list[Word] = []
    for index, (start_s, end_s) in enumerate(pairwise(times)):
        said = spoken(_plain(text[cuts[2 * index] : cuts[2 * index + 1]])).split()
        step = (end_s - start_s) / max(len(said), 1)  # words between two times share what is between them
        words += [Word(w, start_s + step * i, start_s + step * (i + 1)) for i, w in enumerate(said)]
    return tuple(words)
