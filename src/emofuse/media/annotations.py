"""Segments that the user gives: a table, RTTM, a Praat TextGrid or an ELAN file.

The parsers are our own: pympi-ling's TextGrid reader takes no number below 0 or with an exponent and
answers a truncated file with StopIteration, its ELAN reader with KeyError; neither can say where.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

from emofuse.errors import DataError
from emofuse.media.segment import (
    Segment,
    Word,
    assign_words,
    check_span,
    group_words,
    in_order,
    parse_seconds,
    read_bytes,
    read_text,
)

EXTENSIONS = (".csv", ".tsv", ".rttm", ".textgrid", ".eaf")
"""Names of segment files end so, in either case; what decides is their content."""

_START, _END = ("start_s", "start", "begin_s", "begin"), ("end_s", "end")
_RECORDING = ("source", "file", "recording")
_RTTM_FIELDS = 8  # type, file, channel, onset, duration, orthography, subtype, speaker; then what may lack
_RTTM_LINE = re.compile(r"^[A-Z_-]+[ \t]+\S+[ \t]+\S+[ \t]+\S+[ \t]+\S+[ \t]+\S+[ \t]+\S+[ \t]+\S+", re.MULTILINE)

_ROLES = {
    **dict.fromkeys(("word", "words"), "words"),
    **dict.fromkeys(("emotion", "emotions"), "places"),
    **dict.fromkeys(("phone", "phones", "phoneme", "phonemes", "confidence"), "other"),
    **dict.fromkeys(("text", "transcript", "transcription", "utterance", "utterances", "sentence"), "text"),
    **dict.fromkeys(("sentences", "segment", "segments", "speech", "silences"), "text"),
}
"""Tier names that say what a tier holds, not who speaks; also as ``Anna - words``, as forced aligners write."""

_TIER_NAME = re.compile(r"(?:(?P<speaker>.+) - )?(?P<role>[^\W\d]+)(?: (?P<lane>\d+))?")
_SILENT = frozenset({"", "sil", "sp", "silent", "silence", "<sil>", "<eps>", "<p:>"})
_SOUNDING = frozenset({"sounding", "speech", "<sounding>"})

# What Praat reads of a text file: free-standing numbers, strings and flags; the rest is decoration.
_TOKEN = re.compile(
    r'"(?P<string>[^"]*(?:""[^"]*)*)"|(?P<flag><exists>|<absent>)|![^\n]*|(?<!\S)(?P<number>[-+]?\d[^\s"]*)(?!\S)'
)


def read_segments(path: Path, recording: str | None = None) -> list[Segment]:
    """Read the segments of one recording.

    * **Table** (csv, tsv; ``,`` ``;`` or tab): a header with ``start_s``, ``end_s`` (or ``start``, ``begin``,
      ``end``) in seconds, and where known ``speaker``, ``text`` and ``source``.
    * **RTTM**: its SPEAKER lines.
    * **TextGrid** (long or short text file): non-empty intervals of the interval tiers.
    * **ELAN**: annotations of the time-aligned tiers; the speaker is the tier's participant, else its name.

    In the latter two a tier is a speaker, named ``Anna`` or ``Anna - text``; a tier ``words`` (``Anna -
    words``) gives the times of words, or the utterances too where there is no other tier.

    Args:
        path: The file; what it holds is told from its content.
        recording: Name or stem of the recording to take from a table or RTTM file that holds several.

    Returns:
        Segments in order of time, overlaps as they are in the file.

    Raises:
        DataError: The file cannot be read, holds no segment, has a bad time (the message names the
            row), or several recordings of which none is `recording`.
    """
    content = read_bytes(path)
    if content.startswith(b"ooBinaryFile"):
        raise DataError(f"{path}: a binary TextGrid; save it as a text file in Praat")
    xml = path.suffix.lower() == ".eaf" or content.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")
    text = "" if xml else read_text(path)  # XML says itself how it is encoded
    if xml:
        segments = _from_tiers(_read_eaf(path, content))
    elif "ooTextFile" in text[:40] or "Praat chronological" in text[:40]:
        segments = _from_tiers(_read_textgrid(path, text))
    elif path.suffix.lower() == ".rttm" or _RTTM_LINE.match(text):
        segments = _choose(_read_rttm(path, text), path, recording)
    else:
        segments = _choose(_read_table(path, text), path, recording)
    if not segments:
        raise DataError(f"{path}: no segments")
    return in_order(segments)


def _choose(found: Iterable[tuple[str | None, Segment]], path: Path, recording: str | None) -> list[Segment]:
    """Segments of the one recording that a file holds, or of the one that is asked for."""
    by_name: dict[str | None, list[Segment]] = {}
    for name, segment in found:
        by_name.setdefault(name, []).append(segment)
    if len(by_name) <= 1:
        return next(iter(by_name.values()), [])
    wanted = Path(recording or "")
    # As it is named, else by the file's name, else by its stem, which RTTM files use.
    for matches in (
        lambda name: name == recording,
        lambda name: Path(name).name == wanted.name,
        lambda name: wanted.stem in (Path(name).name, Path(name).stem),
    ):
        chosen = [s for name, segments in by_name.items() if name and matches(name) for s in segments]
        if chosen and recording:
            return chosen
    names = ", ".join(sorted(str(name) for name in by_name)[:10])
    asked = "need the name of one of them" if recording is None else f"none is {recording}"
    raise DataError(f"{path}: segments of {len(by_name)} recordings, {asked}: {names}")


def _read_table(path: Path, text: str) -> Iterator[tuple[str | None, Segment]]:
    first = text.lstrip("\n").partition("\n")[0]
    delimiter = max("\t;,", key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    columns: dict[str, int] = {}
    start = end = ""
    try:
        for cells in reader:
            where = f"{path}: row {reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = {name.strip().lower(): index for index, name in enumerate(cells)}
                start, end = (next((n for n in names if n in columns), "") for names in (_START, _END))
                if not start or not end:
                    raise DataError(f"{where}: no header with columns start_s and end_s; found {first[:60]!r}")
                continue
            if len(cells) != len(columns):
                raise DataError(f"{where}: {len(cells)} cells, need {len(columns)} as in the header")
            row = {name: cells[index].strip() for name, index in columns.items()}
            if delimiter != ",":  # a decimal comma, as spreadsheets of half of Europe write it
                row |= {name: row[name].replace(",", ".") for name in (start, end)}
            span = parse_seconds(row[start], where, start), parse_seconds(row[end], where, end)
            check_span(*span, where)
            recording = next((row[name] for name in _RECORDING if row.get(name)), None)
            yield recording, Segment(*span, row.get("speaker") or None, row.get("text") or None)
    except csv.Error as error:
        raise DataError(f"{path}: row {reader.line_num}: not a readable table ({error})") from None


def _read_rttm(path: Path, text: str) -> Iterator[tuple[str | None, Segment]]:
    for row, line in enumerate(text.split("\n"), start=1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        where = f"{path}: row {row}"
        if len(fields) < _RTTM_FIELDS:
            raise DataError(f"{where}: {len(fields)} fields, need {_RTTM_FIELDS} or more in a SPEAKER line")
        start_s = parse_seconds(fields[3], where, "onset")
        # To the microsecond: the sum of two decimals is none.
        end_s = round(start_s + parse_seconds(fields[4], where, "duration"), 6)
        check_span(start_s, end_s, where)
        yield fields[1], Segment(start_s, end_s, None if fields[7] == "<NA>" else fields[7])


@dataclass
class _Tier:
    """A tier of a TextGrid or ELAN file: who speaks, what the labels are, and the labels as segments' texts."""

    speaker: str | None
    role: str
    lane: str | None
    spans: list[Segment] = field(default_factory=list)


def _tier(name: str, participant: str | None = None) -> _Tier:
    match, role = _TIER_NAME.fullmatch(name.strip()), _role(name)
    if match is None or role is None:
        return _Tier(participant or name.strip() or None, "text", None)
    return _Tier(participant or match["speaker"], role, match["lane"])


def _role(name: str) -> str | None:
    match = _TIER_NAME.fullmatch(name.strip())
    return _ROLES.get(match["role"].lower()) if match else None


def _from_tiers(tiers: Sequence[_Tier]) -> list[Segment]:
    """Segments from tiers of utterances, with the words of the tiers of words."""
    found: dict[tuple[str | None, str | None, float, float], Segment] = {}
    for tier in sorted(tiers, key=lambda t: t.role):  # "places" before "text", which fills them in
        if tier.role not in ("places", "text"):
            continue
        for span in tier.spans:
            key = (tier.speaker, tier.lane, round(span.start_s, 3), round(span.end_s, 3))
            found[key] = replace(found.get(key, span), speaker=tier.speaker, text=span.text)
    segments = list(found.values())
    for tier in tiers:
        if tier.role != "words":
            continue
        words = [Word(s.text, s.start_s, s.end_s) for s in tier.spans if s.text]
        own = [s for s in segments if tier.speaker in (None, s.speaker)]
        others = [s for s in segments if tier.speaker not in (None, s.speaker)]
        segments = others + (assign_words(own, words) if own else group_words(words, tier.speaker))
    return segments


class _Tokens:
    """The numbers, strings and flags of a TextGrid, one after the other."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.matches = (match for match in _TOKEN.finditer(text) if match.lastgroup)

    def take(self, kind: str) -> str:
        """The next one, which must be of this kind."""
        match = next(self.matches, None)
        if match is None or match.lastgroup != kind:
            row = self.text.count("\n", 0, match.start() if match else len(self.text)) + 1
            found = f"found {match[0][:40]!r}" if match else "the TextGrid ends too early"
            raise DataError(f"{self.path}: row {row}: {found}, need a {kind}")
        return match[kind].replace('""', '"')

    def count(self) -> int:
        """The next one, how many tiers or intervals follow."""
        value = self.take("number")
        if not value.isdecimal():
            raise DataError(f"{self.path}: {value[:40]} tiers or intervals; need a whole number")
        return int(value[:9])


def _read_textgrid(path: Path, text: str) -> list[_Tier]:
    if "chronological" in text[:40]:
        raise DataError(f"{path}: a chronological TextGrid; save it as a text file in Praat")
    tokens = _Tokens(path, text)
    if not tokens.take("string").startswith("ooTextFile") or tokens.take("string") != "TextGrid":
        raise DataError(f"{path}: a Praat file, but no TextGrid")
    _ = tokens.take("number"), tokens.take("number")
    if tokens.take("flag") != "<exists>":
        return []
    return [_textgrid_tier(path, tokens) for _ in range(tokens.count())]


def _textgrid_tier(path: Path, tokens: _Tokens) -> _Tier:
    has_intervals, name = tokens.take("string") == "IntervalTier", tokens.take("string")
    tier = _tier(name)
    _ = tokens.take("number"), tokens.take("number")
    for index in range(1, tokens.count() + 1):
        times = [tokens.take("number") for _ in range(1 + has_intervals)]
        label = tokens.take("string").strip()
        if has_intervals and label.lower() not in _SILENT:
            where = f"{path}: tier {name!r}: interval {index}"
            tier.spans.append(_span(times, "" if tier.role == "places" else label, where, ("xmin", "xmax")))
    return tier


def _span(
    times: Sequence[str | None], label: str, where: str, names: tuple[str, str], per_second: float = 1.0
) -> Segment:
    start_s, end_s = (parse_seconds(t, where, n, per_second) for t, n in zip(times, names, strict=True))
    check_span(start_s, end_s, where)
    return Segment(start_s, end_s, text=None if label.lower() in _SOUNDING else label or None)


class _Builder(ElementTree.TreeBuilder):
    """Builds the tree of a file without a document type: that is where entities are declared that explode."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise ValueError("declares a document type, as no ELAN file does")


def _read_eaf(path: Path, content: bytes) -> list[_Tier]:
    parser = ElementTree.XMLParser(target=_Builder())
    try:
        parser.feed(content)
        root = parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the latter two: its encoding
        raise DataError(f"{path}: not a readable ELAN file ({error})") from None
    if root.tag != "ANNOTATION_DOCUMENT":
        raise DataError(f"{path}: not an ELAN file, its element is {root.tag[:40]!r}")
    slots = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    # Of a tier of emotions, the words are in a tier that depends on it.
    texts: dict[str | None, str] = {}
    for tier in root.iter("TIER"):
        if _role(tier.get("TIER_ID", "")) == "text":
            texts |= {a.get("ANNOTATION_REF"): _label(a) for a in tier.iter("REF_ANNOTATION")}
    return [_eaf_tier(path, tier, slots, texts) for tier in root.iter("TIER")]


def _label(annotation: ElementTree.Element) -> str:
    return " ".join((annotation.findtext("ANNOTATION_VALUE") or "").split())


def _eaf_tier(
    path: Path, element: ElementTree.Element, slots: dict[str | None, str | None], texts: dict[str | None, str]
) -> _Tier:
    name = element.get("TIER_ID", "")
    tier = _tier(name, element.get("PARTICIPANT"))
    if element.get("PARENT_REF") and tier.role != "words":
        tier.role = "other"  # part of an utterance, as a gesture phase is
    if tier.role == "other":
        return tier
    for index, annotation in enumerate(element.iter("ALIGNABLE_ANNOTATION"), start=1):
        times = [slots.get(annotation.get(key)) for key in ("TIME_SLOT_REF1", "TIME_SLOT_REF2")]
        if tier.role == "words" and None in times:
            continue  # ELAN gives no time to words that nobody has aligned
        identifier = annotation.get("ANNOTATION_ID")
        label = texts.get(identifier, "") if tier.role == "places" else _label(annotation)
        where = f"{path}: tier {name!r}: annotation {index}"
        tier.spans.append(_span(times, label, where, ("its start", "its end"), per_second=1000))
    return tier
