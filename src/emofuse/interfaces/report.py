"""Timelines as one self-contained HTML page: player, timeline, probabilities, weights and their numbers.

The page is ``report.html`` with ``viewer.html``, ``notice.html``, ``report.css`` and ``report.js`` put into it, the
data as JSON and the recordings as Base64. It requests nothing: its content security policy allows only that style, that
script and media from within (or, for a recording too long to embed, the file that the page links).
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from emofuse.errors import ConfigError, DataError
from emofuse.interfaces.player import Player, make_players
from emofuse.prediction import Timeline

_CHUNK = 3 << 20  # bytes a step of Base64: divisible by 3, so that only the end is padded


def write_report(
    path: Path,
    timelines: Sequence[Timeline],
    media: Mapping[str, Path] | None = None,
    *,
    model: str = "",
    model_card: str = "",
    failures: Sequence[str] = (),
) -> None:
    """Write the page of one or more recordings; the file appears whole or not at all.

    What is embedded of a recording: see `emofuse.interfaces.player`.

    Args:
        path: The page; an existing one is replaced.
        timelines: One a recording.
        media: `Timeline.source` to its file. A recording that is not named gets no player, and with
            None none does: nobody's voice or face leaves the machine with the page.
        model: The model's name, for the header.
        model_card: What the reader should know about the model: Markdown of any length.
        failures: Files that could not be used and why, a line each.

    Raises:
        DataError: There is no timeline.
        ConfigError: The page cannot be written there.
    """
    if not timelines:
        raise DataError(f"{path}: no recording to report, need at least one")
    players = make_players(timelines, media or {}, path.parent)
    name = Path(timelines[0].source).name if len(timelines) == 1 else f"{len(timelines)} recordings"
    about = {
        "emofuse": version("emofuse"),
        "model": model,
        "model_card": model_card,
        "failures": list(failures),
    }
    partial = path.with_name(f"{path.name}.partial")
    try:
        try:
            with partial.open("w", encoding="utf-8", errors="replace", newline="\n") as page:
                page.writelines(_page(name, about, timelines, players))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: the report cannot be written there ({error.strerror})") from None


def _page(
    name: str, about: Mapping[str, Any], timelines: Sequence[Timeline], players: Sequence[Player | None]
) -> Iterator[str]:
    """The page piece by piece: a long recording is never held twice."""
    template, style, script = (asset(f"report.{kind}") for kind in ("html", "css", "js"))
    linked = any(player and player.href for player in players)
    values = {
        "viewer": viewer(html.escape(name)),
        "notice": asset("notice.html"),
        "title": html.escape(name),
        "policy": _policy(style, script, linked),
        "style": style,
        "script": script,
        "data": _json({**about, "recordings": [_recording(*pair) for pair in zip(timelines, players, strict=True)]}),
    }
    # split() with a group gives text and names in turn, and never looks into what was put in.
    for i, piece in enumerate(re.split(r"{{(\w+)}}", template)):
        if i % 2 == 0:
            yield piece
        elif piece == "media":
            yield from _embedded(players)
        else:
            yield values[piece]


def viewer(title: str) -> str:
    """The part that the report and the server's page share; `title`, as HTML, stands until the script has drawn it."""
    return asset("viewer.html").replace("{{title}}", title)


def asset(name: str) -> str:
    """Text of a part of the page: ``report.css``, ``viewer.html``, ..."""
    return files("emofuse.interfaces").joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str, linked: bool) -> str:
    """Content security policy: this style and this script by their hashes, and nothing from elsewhere."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    beside = " 'self' file:" if linked else ""
    return (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'; "
        f"media-src blob:{beside}; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _recording(timeline: Timeline, player: Player | None) -> dict[str, Any]:
    """What the script knows about one recording."""
    return {
        "source": timeline.source,
        "duration_s": timeline.duration_s,
        "problems": list(timeline.problems),
        "predictions": [prediction.to_dict() for prediction in timeline],
        "media": player and {"kind": player.kind, "type": player.type, "href": player.href, "note": player.note},
    }


def _json(value: object) -> str:
    r"""JSON that can stand in a <script> element: no text can end the element or open a comment.

    Escapes keep it ASCII too: a file name may hold bytes that are not UTF-8.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _embedded(players: Sequence[Player | None]) -> Iterator[str]:
    """Base64 of each embedded recording in an element that is only data."""
    for i, player in enumerate(players):
        if player is None or player.content is None:
            continue
        yield f'<script type="text/plain" id="media-{i}">'
        for start in range(0, len(player.content), _CHUNK):
            yield base64.b64encode(player.content[start : start + _CHUNK]).decode("ascii")
        yield "</script>\n"
