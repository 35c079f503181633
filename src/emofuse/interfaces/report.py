"""Timelines as one self-contained HTML page: player, timeline, probabilities, attention and their numbers.

The page is ``report.html`` with ``report.css`` and ``report.js`` put into it, the data as JSON and the
recordings as Base64. It requests nothing: its content security policy allows only that style, that
script and media from within (or, for a recording too long to embed, the file that the page links).
"""

import base64
import hashlib
import html
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from emofuse.errors import ConfigError, DataError
from emofuse.media.audio import SAMPLE_RATE
from emofuse.prediction import Timeline

MEDIA_LIMIT = 40_000_000
"""Bytes of recordings that one page embeds, all together, before Base64; what is beyond is linked."""

VIDEO_LIMIT = 25_000_000
"""Bytes up to which a video is embedded with its picture."""

BIT_RATES = (48_000, 32_000, 24_000)
"""Bits per second of the embedded sound: the first at which everything fits `MEDIA_LIMIT`, else the last."""

_MP3_FRAME = 576  # samples of an MPEG-2 Layer III frame, the one of 16 kHz
_MP3_OPTIONS = {"compression_level": "7"}  # a quarter less time than LAME's default: there may be hours
_CHUNK = 3 << 20  # bytes a step of Base64: divisible by 3, so that only the end is padded
_VIDEO_TYPES = {  # what Chromium, Firefox and Safari all play: pictures, sound
    "video/mp4": ({"h264"}, {"aac", "mp3", "mp3float"}),
    "video/webm": ({"vp8", "vp9"}, {"opus", "vorbis"}),
}
_PIXELS = {"yuv420p", "yuvj420p"}  # 10 bits or 4:4:4 do not play everywhere


@dataclass(frozen=True)
class Player:
    """How the page plays one recording.

    Attributes:
        kind: ``audio`` or ``video``.
        type: MIME type of `content`; empty when the file is linked.
        content: What is embedded; None when the file is linked.
        href: Address of the file relative to the page; None when it is embedded.
        note: What the reader should know about it; None when all of it is here.
    """

    kind: str
    type: str = ""
    content: bytes | None = None
    href: str | None = None
    note: str | None = None


def write_report(
    path: Path,
    timelines: Sequence[Timeline],
    media: Mapping[str, Path] | None = None,
    *,
    model: str = "",
    model_card: str = "",
) -> None:
    """Write the page of one or more recordings; the file appears whole or not at all.

    Sound is embedded as mono MP3 without metadata. A video is embedded as it is, with whatever its file
    holds, when browsers play it and it is small, else its sound is; what does not fit is linked.

    Args:
        path: The page; an existing one is replaced.
        timelines: One a recording.
        media: `Timeline.source` to its file. A recording that is not named gets no player, and with
            None none does: nobody's voice or face leaves the machine with the page.
        model: The model's name, for the header.
        model_card: What the reader should know about the model: plain text of any length.

    Raises:
        DataError: There is no timeline.
        ConfigError: The page cannot be written there.
    """
    if not timelines:
        raise DataError(f"{path}: no recording to report, need at least one")
    players = _players(timelines, media or {}, path.parent)
    name = Path(timelines[0].source).name if len(timelines) == 1 else f"{len(timelines)} recordings"
    about = {"emofuse": version("emofuse"), "model": model, "model_card": model_card}
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
    name: str, about: Mapping[str, str], timelines: Sequence[Timeline], players: Sequence[Player | None]
) -> Iterator[str]:
    """The page piece by piece: a long recording is never held twice."""
    template, style, script = (_asset(f"report.{kind}") for kind in ("html", "css", "js"))
    linked = any(player and player.href for player in players)
    values = {
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


def _asset(name: str) -> str:
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


def _players(timelines: Sequence[Timeline], media: Mapping[str, Path], folder: Path) -> list[Player | None]:
    """A player a timeline, embedded in order until the page is full."""
    total_s = sum(t.duration_s for t in timelines if t.source in media)
    bit_rate = next((rate for rate in BIT_RATES if total_s * rate / 8 <= MEDIA_LIMIT), BIT_RATES[-1])
    players: list[Player | None] = []
    room = MEDIA_LIMIT
    for timeline in timelines:
        path = media.get(timeline.source)
        player = None if path is None else _player(path, folder, bit_rate, room)
        if player and player.content:
            room -= len(player.content)
        players.append(player)
    return players


def _player(path: Path, folder: Path, bit_rate: int, room: int) -> Player:
    """Embed one file in at most `room` bytes, or link it."""
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}, metadata_errors="ignore") as container:
            pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
            left_out = None
            if pictures:
                size, mime = path.stat().st_size, _playable(path, container, pictures[0])
                if mime and size <= min(VIDEO_LIMIT, room):
                    return Player("video", mime, path.read_bytes())
                reason = "it is too large to put into the page" if mime else "browsers do not play this kind of file"
                left_out = f"Sound only: the picture is left out, as {reason}."
            sound = None
            if container.streams.audio:
                sound = _encode_sound(container, container.streams.audio[0], bit_rate, room)
    except (FFmpegError, OSError, ValueError):  # ValueError: the format changes within the stream
        return Player("audio", href=_href(path, folder), note="The recording could not be put into the page.")
    if sound is not None:
        return Player("audio", "audio/mpeg", sound, note=left_out)
    beside = "The recording is not inside this page: keep its file where it is, seen from the page, to play it."
    return Player("video" if pictures else "audio", href=_href(path, folder), note=beside)


def _playable(path: Path, container: InputContainer, picture: VideoStream) -> str | None:
    """MIME type of a video that today's browsers play, else None."""
    if "mp4" in container.format.name:
        mime = "video/mp4"
    else:
        with path.open("rb") as file:  # FFmpeg has one reader for Matroska and WebM: the header says which it is
            mime = "video/webm" if b"webm" in file.read(64) else None
    if mime is None:
        return None
    pictures, sounds = _VIDEO_TYPES[mime]
    fits = picture.codec_context.name in pictures and picture.codec_context.pix_fmt in _PIXELS
    return mime if fits and all(s.codec_context.name in sounds for s in container.streams.audio) else None


def _encode_sound(container: InputContainer, stream: AudioStream, bit_rate: int, room: int) -> bytes | None:
    """Mono MP3 of constant bit rate, in which every browser seeks exactly; None when it exceeds `room` bytes.

    Sample for sample as long as the decoded sound: the header tells players what to cut at both ends.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3") as out:
        encoder = out.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono", options=_MP3_OPTIONS)
        encoder.bit_rate = bit_rate
        resampler = av.AudioResampler(format="s16p", layout="mono", rate=SAMPLE_RATE, frame_size=_MP3_FRAME)
        decoded = container.decode(stream)
        while True:
            frame = next(decoded, None)
            if frame is not None:
                frame.pts = None  # one after the other, as `read_audio` has them
            for part in resampler.resample(frame):
                part.pts = None
                out.mux(encoder.encode(part))
            if frame is None:
                break
            if buffer.tell() > room:
                return None
        out.mux(encoder.encode(None))
    return buffer.getvalue() if buffer.tell() <= room else None


def _href(path: Path, folder: Path) -> str:
    """Address of a file relative to the page's folder; absolute where there is no relative one."""
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:  # another drive of Windows
        return path.resolve().as_uri()
    # "./" keeps a colon in the name from being read as a scheme.
    return "./" + quote(os.fsencode(relative.replace(os.sep, "/")))
