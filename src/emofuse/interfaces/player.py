"""What of a recording a page embeds, so that a browser can play it.

A video is embedded as it is, with whatever its file holds, when browsers play it and it is small; where they play its
streams but not its container, as in Matroska, the streams are put into MP4. Of others, and of sound, it is mono MP3
without metadata, sample for sample what the model heard. What does not fit is linked.
"""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from urllib.parse import quote

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from emofuse.errors import DataError
from emofuse.media.audio import SAMPLE_RATE, stream_audio
from emofuse.media.container import audio_stream, open_media, video_stream
from emofuse.prediction import Timeline

MEDIA_LIMIT = 40_000_000
"""Bytes of recordings that one page embeds, all together, before Base64; what is beyond is linked."""

VIDEO_LIMIT = 25_000_000
"""Bytes up to which a video is embedded with its picture."""

BIT_RATES = (48_000, 32_000, 24_000)
"""Bits per second of the embedded sound: the first at which everything fits `MEDIA_LIMIT`, else the last."""

_MP3_FRAME = 576  # samples of an MPEG-2 Layer III frame, the one of 16 kHz
_MP3_OPTIONS = {"compression_level": "7"}  # a quarter less time than LAME's default: there may be hours
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


def make_players(timelines: Sequence[Timeline], media: Mapping[str, Path], folder: Path) -> list[Player | None]:
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
    pictures = left_out = None
    try:
        with open_media(path) as container:
            pictures, has_sound = video_stream(container), audio_stream(container) is not None
            if pictures is not None:
                mime = _playable(path, container, pictures)
                video = None if mime is None else _video(path, container, mime, min(VIDEO_LIMIT, room))
                if mime is not None and video is not None:
                    return Player("video", mime, video)
                reason = "it is too large to put into the page" if mime else "browsers do not play this kind of file"
                left_out = f"Sound only: the picture is left out, as {reason}."
        sound = _encode_sound(path, bit_rate, room) if has_sound else None
    except (DataError, FFmpegError, OSError, ValueError):
        return Player("audio", href=_href(path, folder), note="The recording could not be put into the page.")
    if sound is not None:
        return Player("audio", "audio/mpeg", sound, note=left_out)
    beside = "The recording is not inside this page: keep its file where it is, seen from the page, to play it."
    return Player("video" if pictures is not None else "audio", href=_href(path, folder), note=beside)


def _playable(path: Path, container: InputContainer, picture: VideoStream) -> str | None:
    """MIME type of a video whose streams today's browsers play, else None."""
    if not ({"mp4", "matroska"} & set(container.format.name.split(","))):
        return None
    with path.open("rb") as file:  # FFmpeg has one reader for Matroska and WebM: the header says which it is
        mime = "video/webm" if b"webm" in file.read(64) else "video/mp4"
    pictures, sounds = _VIDEO_TYPES[mime]
    fits = picture.codec_context.name in pictures and picture.codec_context.pix_fmt in _PIXELS
    return mime if fits and all(s.codec_context.name in sounds for s in container.streams.audio) else None


def _video(path: Path, container: InputContainer, mime: str, room: int) -> bytes | None:
    """A video whose streams browsers play, in a container that they read; None when it exceeds `room` bytes."""
    if path.stat().st_size > room:
        return None
    if mime == "video/webm" or "mp4" in container.format.name:
        return path.read_bytes()
    kept = [stream for stream in (video_stream(container), audio_stream(container)) if stream is not None]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in kept}
        for packet in _ordered(container.demux(kept)):
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    return buffer.getvalue() if buffer.tell() <= room else None


def _ordered(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """The same packets, each with the time of its decoding, which Matroska leaves out of a stream's first ones."""
    waiting: dict[int, list[av.Packet]] = {}
    for packet in packets:
        index = packet.stream.index
        if packet.size == 0:
            continue
        if packet.dts is None:
            waiting.setdefault(index, []).append(packet)
            continue
        held = waiting.pop(index, [])
        for n, earlier in enumerate(reversed(held), start=1):
            earlier.dts = packet.dts - n * max(1, packet.duration or 1)
        yield from (*held, packet)


def _encode_sound(path: Path, bit_rate: int, room: int) -> bytes | None:
    """Mono MP3 of constant bit rate, in which every browser seeks exactly; None when it exceeds `room` bytes.

    Sample for sample as long as what the model heard: the header tells players what to cut at both ends.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3") as out:
        encoder = out.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono", options=_MP3_OPTIONS)
        encoder.bit_rate = bit_rate
        resampler = av.AudioResampler(format="s16p", layout="mono", rate=SAMPLE_RATE, frame_size=_MP3_FRAME)
        for frame in chain(_frames(path), [None]):
            for part in resampler.resample(frame):
                part.pts = None
                out.mux(encoder.encode(part))
            if buffer.tell() > room:
                return None
        out.mux(encoder.encode(None))
    return buffer.getvalue() if buffer.tell() <= room else None


def _frames(path: Path) -> Iterator[av.AudioFrame]:
    """The sound in frames of a second; of a damaged file what there is.

    Raises:
        DataError: There is none.
    """
    n_frames = 0
    try:
        for block in stream_audio(path, block_s=1.0):
            frame = av.AudioFrame.from_ndarray(np.round(block[None] * 32767).astype(np.int16), "s16p", "mono")
            frame.sample_rate = SAMPLE_RATE
            yield frame
            n_frames += 1
    except DataError:
        if n_frames == 0:
            raise


def _href(path: Path, folder: Path) -> str:
    """Address of a file relative to the page's folder; absolute where there is no relative one."""
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:  # another drive of Windows
        return path.resolve().as_uri()
    # "./" keeps a colon in the name from being read as a scheme.
    return "./" + quote(os.fsencode(relative.replace(os.sep, "/")))
