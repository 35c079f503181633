"""The table of utterances that `emofuse predict` shows in a terminal."""

import io
import re
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from emofuse.prediction import Prediction, Timeline

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]+")
_MODALITIES = ("speech", "visual", "text")
_HEADINGS = {"time": "time", "speaker": "speaker", "emotion": "emotion", "percent": "", "bar": ""}
_HEADINGS |= {"evidence": "from", "text": "text"}
_BAR_CELLS, _SPEAKER_CELLS, _TEXT_CELLS = 6, 12, 16  # the latter two: widest name, narrowest text
LIVE_WIDTH = 80
_COLOURS = {
    "happy": "yellow",
    "excited": "bright_yellow",
    "positive": "green",
    "angry": "red",
    "frustrated": "bright_red",
    "negative": "red",
    "sad": "blue",
    "fearful": "magenta",
    "disgusted": "green",
    "surprised": "cyan",
}


def write_text(timeline: Timeline, width: int = 100) -> str:
    """The table of `text_table` without colours, `width` characters wide."""
    stream = io.StringIO()
    text_table(timeline, Console(file=stream, width=width, color_system=None, legacy_windows=False))
    return stream.getvalue()


def text_table(timeline: Timeline, console: Console) -> None:
    """Print a recording's utterances as a table that fits 80 columns or more; plain where there is no terminal."""
    evidence = {(p.modalities, p.missing) for p in timeline}
    summary = f"{_clock(timeline.duration_s, 0)}, {len(timeline)} utterance{'' if len(timeline) == 1 else 's'}"
    if len(evidence) == 1:
        used, missing = next(iter(evidence))
        summary += f", from {_listed(used)}" + (f", without {_listed(missing)}" if missing else "")
    console.print(Text(one_line(timeline.source), "bold"), Text(summary, "dim"), sep="\n", soft_wrap=True)
    modalities = [m for m in _MODALITIES if len(evidence) > 1 and any(m in p.modalities + p.missing for p in timeline)]
    unicode = console.encoding.lower().startswith("utf")
    lines = [_cells(p, timeline.duration_s, modalities, unicode) for p in timeline]
    columns = [name for name in _HEADINGS if any(line[name].plain for line in lines)]
    room = console.width
    shown = [Text() for _ in range(len(lines) + 1)]
    for name in columns:
        cells = [Text(_HEADINGS[name], "dim"), *(line[name] for line in lines)]
        width = max(cell.cell_len for cell in cells)
        width = min(width, {"speaker": _SPEAKER_CELLS, "text": max(room, _TEXT_CELLS)}.get(name, width))
        room -= width + 2
        for row, cell in zip(shown, cells, strict=True):
            _shorten(cell, width, "…" if unicode else "...")
            cell.align("right" if name == "percent" else "left", width)
            row.append("  " if row else "").append_text(cell)
    for row in shown if lines else ():
        row.rstrip()
        console.print(row, soft_wrap=True)
    notes = ["? unsure: below the threshold, or no speech found"] if any(p.unsure for p in timeline) else []
    notes += [", ".join(f"{m[0].upper()} {m}" for m in modalities) + ", - not there"] if modalities else []
    if notes:
        console.print(Text("; ".join(notes), "dim"))


def live_line(p: Prediction, is_final: bool) -> str:
    """One utterance while people are talking, at most `LIVE_WIDTH` characters; one that goes on ends in dots."""
    when = f"{_clock(p.start_s, 0)} - {_clock(p.end_s, 0)}"
    label = one_line(p.label) + "?" * p.unsure
    said = " ".join(filter(None, (one_line(p.speaker or ""), one_line(p.text or ""))))
    line = Text(f"{when:16}  {label:10} {p.confidence:>4.0%}  {said}".rstrip())
    _shorten(line, LIVE_WIDTH - 4, "...")
    return line.plain + ("" if is_final else " ...")


def _listed(names: Sequence[str]) -> str:
    """``speech, visual and text``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def one_line(text: str) -> str:
    """Text without line ends and without the characters that steer a terminal or that no file format holds."""
    return " ".join(_CONTROL.sub(" ", text).split())


def _cells(p: Prediction, duration_s: float, modalities: Sequence[str], unicode: bool) -> dict[str, Text]:
    """A row of the table by column."""
    style = "dim" if p.unsure else _COLOURS.get(p.label, "")
    return {
        "time": Text(f"{_clock(p.start_s, duration_s)} - {_clock(p.end_s, duration_s)}"),
        "speaker": Text(one_line(p.speaker or "")),
        "emotion": Text(one_line(p.label) + "?" * p.unsure, style),
        "percent": Text(f"{p.confidence:.0%}", style),
        "bar": Text(_bar(p.confidence, unicode), style),
        "evidence": Text("".join(m[0].upper() if m in p.modalities else "-" for m in modalities)),
        "text": Text(one_line(p.text or "")),
    }


def _shorten(text: Text, width: int, mark: str) -> None:
    if text.cell_len > width:
        text.truncate(width - len(mark))
        text.append(mark)


def _clock(seconds: float, longest_s: float) -> str:
    """``m:ss.s``, or ``h:mm:ss.s`` where it or the longest time of its column is an hour or more."""
    tenths = round(seconds * 10)
    rest = f"{tenths // 10 % 60:02d}.{tenths % 10}"
    minutes = tenths // 600
    return f"{minutes // 60}:{minutes % 60:02d}:{rest}" if max(seconds, longest_s) >= 3600 else f"{minutes}:{rest}"


def _bar(share: float, unicode: bool) -> str:
    """A bar of `_BAR_CELLS` cells, drawn to an eighth of a cell where the console can show that."""
    if not unicode:
        return "#" * round(share * _BAR_CELLS)
    eighths = round(share * _BAR_CELLS * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
