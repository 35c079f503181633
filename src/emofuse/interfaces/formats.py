"""What `emofuse predict` writes: JSON Lines, csv, Praat TextGrid, ELAN and SRT; the table is in `interfaces.table`.

Every writer returns text, to be written as UTF-8 without changing line ends. The three formats of
annotation are written by hand, so that the libraries that own them can be their independent check.
"""

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from emofuse.errors import DataError
from emofuse.interfaces.table import one_line, write_text
from emofuse.prediction import Prediction, Timeline, rows

COLUMNS = ("source", "start_s", "end_s", "speaker", "text", "label", "confidence", "unsure", "modalities", "missing")
"""Columns of the csv that are there whatever was predicted; then ``p_LABEL`` and ``w_MODALITY``."""

_XML_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LIKE_A_NAME = re.compile(r"[^\s:\[][^:]{0,39}:(?:\s|$)")
_MIME = {
    ".wav": "audio/x-wav",
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".m4a": "audio/mp4",
    ".mp4": "video/mp4",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
}


class _Lane(NamedTuple):
    """Utterances of one speaker that do not overlap, as a tier needs them; all lanes but the first have a number."""

    speaker: str | None
    number: int
    utterances: list[tuple[int, int, Prediction]]  # start, end in units of the format

    def tier(self, role: str) -> str:
        name = role if self.speaker is None else f"{one_line(self.speaker)} - {role}"
        return name if self.number == 1 else f"{name} {self.number}"

    @property
    def has_text(self) -> bool:
        return any(p.text for _, _, p in self.utterances)


def write_json(timelines: Timeline | Iterable[Timeline]) -> str:
    """JSON Lines: `Prediction.to_dict` of every utterance on a line of its own."""
    lines = (json.dumps(p.to_dict(), ensure_ascii=False, allow_nan=False) for p in _predictions(timelines))
    # A file name that is not UTF-8 holds lone surrogates, which UTF-8 cannot hold.
    return "".join(f"{line.encode('utf-8', 'backslashreplace').decode()}\n" for line in lines)


def write_csv(timelines: Timeline | Iterable[Timeline]) -> str:
    r"""A table as RFC 4180 has it: a header, a row an utterance, lines that end in ``\r\n``, None as an empty cell."""
    table = rows(_predictions(timelines))
    columns = list(dict.fromkeys((*COLUMNS, *(name for row in table for name in row))))
    # Classes side by side, then modalities, also where files differ in what they have.
    columns.sort(key=lambda name: (name not in COLUMNS) * (1 + name.startswith("w_")))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(table)
    return stream.getvalue().encode("utf-8", "replace").decode()


def write_textgrid(timeline: Timeline) -> str:
    """Praat TextGrid, long text form: for each speaker the tiers ``Anna - emotion``, ``- text``, ``- confidence``.

    Without a speaker the names are the last words alone. Overlapping utterances of one speaker go to
    further tiers, ``Anna - emotion 2``. Every tier covers 0 s to the end.

    Raises:
        DataError: An utterance has no length.
    """
    scale = 10**6
    lanes = _lanes(timeline, scale)
    end = max([round(timeline.duration_s * scale), 1, *(e for lane in lanes for _, e, _ in lane.utterances)])
    tiers: list[tuple[str, list[tuple[int, int, str]]]] = []
    for lane in lanes or [_Lane(None, 1, [])]:
        tiers.append((lane.tier("emotion"), [(s, e, p.label) for s, e, p in lane.utterances]))
        if lane.has_text:
            tiers.append((lane.tier("text"), [(s, e, p.text or "") for s, e, p in lane.utterances]))
        tiers.append((lane.tier("confidence"), [(s, e, f"{p.confidence:.2f}") for s, e, p in lane.utterances]))
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end / scale:.6f}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, spans) in enumerate(tiers, start=1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}"]
        intervals = _covering(spans, end)
        lines += [
            "        xmin = 0",
            f"        xmax = {end / scale:.6f}",
            f"        intervals: size = {len(intervals)}",
        ]
        for index, (start, stop, label) in enumerate(intervals, start=1):
            lines += [f"        intervals [{index}]:", f"            xmin = {start / scale:.6f}"]
            lines += [f"            xmax = {stop / scale:.6f}", f"            text = {_quoted(label)}"]
    return "\n".join(lines) + "\n"


def write_eaf(timeline: Timeline, folder: Path | None = None) -> str:
    """ELAN annotations: for each speaker a tier of emotions, and tiers of text and confidence that depend on it.

    Tiers are named as in `write_textgrid`; times are whole milliseconds.

    Args:
        timeline: Of one recording.
        folder: Where the file will lie: the recording is linked by its path from there. None: the
            current folder.

    Raises:
        DataError: An utterance has no length.
    """
    lanes = _lanes(timeline, 1000)
    root = _eaf_root(_media(timeline.source, folder))
    order = ElementTree.SubElement(root, "TIME_ORDER")
    times = sorted({time for lane in lanes for start, end, _ in lane.utterances for time in (start, end)})
    slots = {time: f"ts{index}" for index, time in enumerate(times, start=1)}
    for time, slot in slots.items():
        ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(time))
    identifiers = (f"a{index}" for index in range(1, 10**9))
    for lane in lanes:
        _eaf_tiers(root, lane, slots, identifiers)
    ElementTree.SubElement(root, "LINGUISTIC_TYPE", LINGUISTIC_TYPE_ID="emotion", TIME_ALIGNABLE="true")
    for role in ("text", "confidence"):
        association = {"LINGUISTIC_TYPE_ID": role, "TIME_ALIGNABLE": "false", "CONSTRAINTS": "Symbolic_Association"}
        ElementTree.SubElement(root, "LINGUISTIC_TYPE", association)
    description = "1-1 association with a parent annotation"
    ElementTree.SubElement(root, "CONSTRAINT", STEREOTYPE="Symbolic_Association", DESCRIPTION=description)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def write_srt(timeline: Timeline) -> str:
    """SRT subtitles ``[HAPPY 67%] Anna: text``; an unsure label has a question mark.

    Raises:
        DataError: An utterance has no length.
    """
    cues = []
    utterances = sorted((u for lane in _lanes(timeline, 1000) for u in lane.utterances), key=lambda u: u[:2])
    for index, (start, end, p) in enumerate(utterances, start=1):
        said = one_line(p.text or "").replace("-->", "→")
        if p.speaker is not None:
            said = f"{one_line(p.speaker).replace(':', ' ')}: {said}".rstrip()
        elif _LIKE_A_NAME.match(said):
            said = f"- {said}"  # else a reader takes what is before the colon for the speaker
        cues.append(f"{index}\n{_stamp(start)} --> {_stamp(end)}\n{f'[{_verdict(p)}] {said}'.rstrip()}\n\n")
    return "".join(cues)


FORMATS: dict[str, tuple[str, Callable[[Timeline], str]]] = {
    "text": (".txt", write_text),
    "json": (".jsonl", write_json),
    "csv": (".csv", write_csv),
    "textgrid": (".TextGrid", write_textgrid),
    "eaf": (".eaf", write_eaf),
    "srt": (".srt", write_srt),
}
"""Format to the ending of its files and the function that writes one recording."""


def _predictions(timelines: Timeline | Iterable[Timeline]) -> list[Prediction]:
    return list(timelines) if isinstance(timelines, Timeline) else [p for timeline in timelines for p in timeline]


def _lanes(timeline: Timeline, scale: int) -> list[_Lane]:
    """Each speaker's utterances in as few lanes as hold them without overlap; times are whole 1/scale seconds."""
    lanes: dict[str | None, list[_Lane]] = {}
    for p in sorted(timeline, key=lambda p: (p.start_s, p.end_s)):
        start, end = round(p.start_s * scale), round(p.end_s * scale)
        if start >= end:
            raise DataError(f"{timeline.source}: an utterance from {p.start_s:g} s to {p.end_s:g} s; use json or csv")
        own = lanes.setdefault(p.speaker or None, [])
        free = next((lane for lane in own if lane.utterances[-1][1] <= start), None)
        if free is None:
            free = _Lane(p.speaker or None, len(own) + 1, [])
            own.append(free)
        free.utterances.append((start, end, p))
    return [lane for own in lanes.values() for lane in own]


def _covering(spans: Sequence[tuple[int, int, str]], end: int) -> list[tuple[int, int, str]]:
    """Spans in order, and empty ones between them, from 0 to `end`."""
    result: list[tuple[int, int, str]] = []
    position = 0
    for start, stop, label in spans:
        if start > position:
            result.append((position, start, ""))
        result.append((start, stop, label))
        position = stop
    return result if position == end else [*result, (position, end, "")]


def _quoted(text: str) -> str:
    return '"' + one_line(text).replace('"', '""') + '"'


def _media(source: str, folder: Path | None) -> dict[str, str] | None:
    """How ELAN finds the recording: by its path from the file's folder; None where the source is no file name."""
    suffix = Path(source).suffix.lower()
    if not suffix or "://" in source:
        return None
    try:
        relative = os.path.relpath(source, folder or Path())
    except ValueError:  # on another drive of Windows
        relative = source
    link = _XML_ILLEGAL.sub("?", f"./{Path(relative).as_posix()}")
    return {"MEDIA_URL": link, "RELATIVE_MEDIA_URL": link, "MIME_TYPE": _MIME.get(suffix, "unknown")}


def _eaf_root(media: dict[str, str] | None) -> ElementTree.Element:
    """An ELAN document with its header only."""
    xsi = "http://www.w3.org/2001/XMLSchema-instance"
    ElementTree.register_namespace("xsi", xsi)
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "emofuse",
            "DATE": datetime.now(UTC).isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            f"{{{xsi}}}noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )
    header = ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if media is not None:
        ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", media)
    return root


def _eaf_tiers(root: ElementTree.Element, lane: _Lane, slots: dict[int, str], identifiers: Iterable[str]) -> None:
    """The tier of emotions of a lane, and those that depend on it."""
    identifiers = iter(identifiers)
    who = {} if lane.speaker is None else {"PARTICIPANT": _XML_ILLEGAL.sub("", lane.speaker)}
    name = lane.tier("emotion")
    tier = ElementTree.SubElement(root, "TIER", {"TIER_ID": name, "LINGUISTIC_TYPE_REF": "emotion"} | who)
    parents: list[str] = []
    for start, end, p in lane.utterances:
        parents.append(next(identifiers))
        times = {"TIME_SLOT_REF1": slots[start], "TIME_SLOT_REF2": slots[end]}
        _annotation(tier, "ALIGNABLE_ANNOTATION", parents[-1], times, p.label)
    for role in ("text", "confidence") if lane.has_text else ("confidence",):
        names = {"TIER_ID": lane.tier(role), "LINGUISTIC_TYPE_REF": role, "PARENT_REF": name}
        tier = ElementTree.SubElement(root, "TIER", names | who)
        for parent, (_, _, p) in zip(parents, lane.utterances, strict=True):
            value = p.text if role == "text" else f"{p.confidence:.2f}"
            if value:
                _annotation(tier, "REF_ANNOTATION", next(identifiers), {"ANNOTATION_REF": parent}, value)


def _annotation(tier: ElementTree.Element, kind: str, identifier: str, place: dict[str, str], value: str) -> None:
    annotation = ElementTree.SubElement(tier, "ANNOTATION")
    element = ElementTree.SubElement(annotation, kind, {"ANNOTATION_ID": identifier} | place)
    ElementTree.SubElement(element, "ANNOTATION_VALUE").text = _XML_ILLEGAL.sub("", value)


def _verdict(p: Prediction) -> str:
    return f"{p.label.upper()}{'?' if p.unsure else ''} {p.confidence:.0%}"


def _stamp(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{rest:03d}"
