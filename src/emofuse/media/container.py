"""A media file opened with FFmpeg: what may be opened, its streams, where its timeline begins."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from emofuse.errors import DataError

MAX_PIXELS = 8192 * 4608
"""Largest picture that is decoded: 8K, in either orientation."""

UNDECODABLE = "not a media file that can be decoded"
"""What is said of a file that FFmpeg does not know."""

_PRIMING_S = 0.1  # encoders let sound begin a little before 0: their delay, which decoding leaves out
# FFmpeg also knows playlists, which name further files, and text and still pictures, which are no media here.
_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,dv,eac3,flac,flv,h264,hevc,ivf,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,"
    "mp3,mpc,mpc8,mpeg,mpegts,mpegvideo,mxf,nistsphere,nut,ogg,rm,tta,voc,w64,wav,wv"
)
_STILL_BRANDS = {"heic", "heix", "mif1", "avif"}  # pictures of phones, in the container of mp4
_PICTURE_CODECS = {"mjpeg", "png", "bmp", "gif", "webp", "tiff"}


def check_file(path: Path) -> None:
    """Raise DataError for what is no file with something in it."""
    if path.is_dir():
        raise DataError(f"{path}: a folder, not a media file")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: empty file")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: no permission to read it")


def open_media(path: Path) -> InputContainer:
    """Open a file with FFmpeg.

    Raises:
        DataError: The file is missing, a folder, empty, or no container of sound or moving pictures.
    """
    check_file(path)
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS, "max_pixels": str(MAX_PIXELS)}
    try:
        # A name with a colon would be an address without "file:".
        container = av.open(f"file:{path}", options=options, metadata_errors="ignore")
    except (FFmpegError, ValueError):
        raise DataError(f"{path}: {UNDECODABLE}") from None
    if container.metadata.get("major_brand", "").strip() in _STILL_BRANDS:
        container.close()
        raise DataError(f"{path}: a still picture, not a media file")
    return container


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The first audio stream that can be decoded."""
    streams = (stream for stream in container.streams.audio if stream.codec_context is not None)
    return next((stream for stream in streams if stream.sample_rate), None)


def video_stream(container: InputContainer) -> VideoStream | None:
    """The first stream of moving pictures that can be decoded; the cover of an album is none."""
    for stream in container.streams.video:
        cover = stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image)
        context = stream.codec_context
        if cover or context is None or not context.width or (stream.frames == 1 and context.name in _PICTURE_CODECS):
            continue
        return stream
    return None


def timeline_zero_s(container: InputContainer) -> float | None:
    """FFmpeg's time of second 0; None where only the first decoded sound or picture can tell."""
    video, audio = video_stream(container), audio_stream(container)
    if video is None or audio is None:
        return None
    starts = [
        float(stream.start_time * stream.time_base)
        for stream in (video, audio)
        if stream.start_time is not None and stream.time_base
    ]
    zero = min(starts, default=None)
    return 0.0 if zero is not None and -_PRIMING_S < zero < 0 else zero


def decoded(
    container: InputContainer, stream: AudioStream | VideoStream, on_damage: Callable[[], None]
) -> Iterator[Any]:
    """All frames of a stream, from the container's position on; `on_damage` is called for what cannot be decoded."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            frames = packet.decode() if packet is not None else []
        except FFmpegError:
            on_damage()
            continue
        except IndexError:  # PyAV at the end of a file where a stream appeared midway; all others are flushed by then
            return
        if packet is None:
            return
        yield from frames
