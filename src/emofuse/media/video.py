"""Video of any media file as frames with their times; and what a media file holds.

Times are those of `emofuse.media.decoding`: second 0 is where the file's first sound or picture begins.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from emofuse.errors import ConfigError, DataError
from emofuse.media.container import MAX_PIXELS, audio_stream, decoded, open_media, timeline_zero_s, video_stream
from emofuse.media.decoding import MAX_GAP_S, MAX_SECONDS, open_sound
from emofuse.media.picture import Picture, degrees_clockwise, display_matrix, pixel_aspect, shown_size

_ROUNDING_S = 1e-3  # containers round time stamps to 1 ms: a frame at 2/30 s is stored as 0.067
_NEAR_ZERO_S = 0.1  # a first frame this early is shown from 0 on, as players do
_BACKWARDS_S = 1.0  # time stamps that go back further begin anew; by less, a frame is out of order
_SEEK_FROM_S = 10.0  # decoding from the beginning is as quick for less
_SEEKABLE = {"mov", "matroska", "avi", "flv", "asf", "ogg", "nut", "mxf"}  # mpg and ts land between key frames


class Frame(NamedTuple):
    """One picture: time in seconds from the start of the file's timeline, and (height, width, 3) uint8 RGB."""

    time_s: float
    image: np.ndarray


@dataclass(frozen=True)
class MediaInfo:
    """What a media file holds.

    Attributes:
        duration_s: Length of the timeline in seconds, as the header states it (else as its packets say).
        has_audio, has_video: Whether there is sound, and moving pictures; cover art is none.
        sample_rate, n_channels: Of the sound; None without.
        width, height: Of the pictures as shown, turned and with square pixels; None without.
        frame_rate: Pictures per second on average; None without pictures or when not known.
        rotation: Degrees clockwise by which stored pictures are turned to be shown: 0, 90, 180 or 270.
        seekable: Whether pictures in the middle can be had without decoding all before them.
    """

    duration_s: float
    has_audio: bool
    has_video: bool
    sample_rate: int | None = None
    n_channels: int | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    rotation: int = 0
    seekable: bool = False


def probe(path: Path) -> MediaInfo:
    """What a file holds, from its headers and first picture.

    Raises:
        DataError: The file is missing, a folder, empty, or holds neither sound nor moving pictures.
    """
    sound = open_sound(path)
    if sound is not None:
        with sound:
            heard = MediaInfo(sound.frames / sound.samplerate, True, False, sound.samplerate, sound.channels)
        if sound.format != "OGG":  # the only one of libsndfile's formats that may hold pictures
            return heard
    with open_media(path) as container:
        audio, video = audio_stream(container), video_stream(container)
        shown = None if video is None else _shown(path, container, _stream(path, container))
        if audio is None and shown is None:
            raise DataError(f"{path}: neither sound nor moving pictures in it")
        info = MediaInfo(_duration_s(container), audio is not None, shown is not None)
        if audio is not None:
            info = replace(info, sample_rate=audio.sample_rate, n_channels=audio.channels)
        if video is not None and shown is not None:
            rate = video.average_rate or video.guessed_rate
            height, width, rotation = shown
            info = replace(info, width=width, height=height, frame_rate=float(rate) if rate else None)
            info = replace(info, rotation=rotation, seekable=_is_seekable(container))
        return info


def read_frames(
    path: Path, frame_rate: float, start_s: float = 0.0, end_s: float | None = None, max_side: int | None = None
) -> Iterator[Frame]:
    """Pictures on a regular grid: at ``start_s + k / frame_rate``, the last one that began by then.

    Right for any frame rate of the file, also a varying one. Pictures are turned and mirrored as the file says, their
    pixels made square. Grid times before the first picture and after the last are left out; damaged pictures are
    skipped, the one before is held. A jump of time stamps by over `emofuse.media.decoding.MAX_GAP_S` is not believed.

    Args:
        path: Video file.
        frame_rate: Grid times per second.
        start_s: First grid time in seconds on the file's timeline.
        end_s: End in seconds, itself not in the grid; None is the end of the pictures.
        max_side: Pictures with a longer side than this many pixels are scaled down to it; None leaves all.

    Yields:
        Frames with their grid time. One that is held for several grid times is the same array: do not change it.

    Raises:
        DataError: The file is missing, a folder, empty or not decodable, has no moving pictures, none that can be
            decoded, larger ones than `emofuse.media.container.MAX_PIXELS`, or more than
            `emofuse.media.decoding.MAX_SECONDS`.
        ConfigError: A number is out of range.
    """
    end = math.inf if end_s is None else end_s
    if not (0 < frame_rate <= 1000 and 0 <= start_s < end and math.isfinite(start_s)):
        raise ConfigError(
            f"{path}: {frame_rate} frames per second from {start_s} s to {end_s} s; need 0 <= start < end"
        )
    if max_side is not None and max_side < 1:
        raise ConfigError(f"{path}: max_side {max_side}; need 1 pixel or more")
    return _on_grid(_timed_pictures(path, start_s, max_side), frame_rate, start_s, end)


def _on_grid(pictures: Iterator[Picture], frame_rate: float, start: float, end: float) -> Iterator[Frame]:
    k, held, image = 0, None, None
    for picture in chain(pictures, [None]):
        if picture is not None:
            until = min(end, picture.time_s - _ROUNDING_S)
        else:
            until = min(end, held.time_s + held.duration_s - _ROUNDING_S) if held is not None else -math.inf
        if held is None:
            k = max(0, math.ceil((until - start) * frame_rate)) if math.isfinite(until) else 0
        while held is not None and (time := start + k / frame_rate) < until:
            converted = held.image()
            image = image if converted is None else converted
            if image is not None:
                yield Frame(time, image)
            k += 1
        if start + k / frame_rate >= end:
            return
        held = picture


def _timed_pictures(path: Path, start: float, max_side: int | None) -> Iterator[Picture]:
    """Pictures in order of time; the first is at `start` or before, or the file's first."""
    if start > _SEEK_FROM_S:
        with open_media(path) as container:
            stream = _stream(path, container)
            pictures = _pictures(path, container, stream, start, max_side)
            if _seek(container, stream, start) and (first := next(pictures, None)) and first.time_s <= start:
                yield first
                yield from pictures
                return
    n_pictures = 0
    with open_media(path) as container:
        for picture in _pictures(path, container, _stream(path, container), None, max_side):
            yield picture
            n_pictures += 1
    if n_pictures == 0:
        raise DataError(f"{path}: no picture of its video can be decoded")


def _stream(path: Path, container: InputContainer) -> VideoStream:
    stream = video_stream(container)
    if stream is None:
        raise DataError(f"{path}: no video stream")
    _check_size(path, stream.width, stream.height)
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    stream.codec_context.thread_type = "AUTO"
    return stream


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(f"{path}: pictures of {width} × {height} pixels; need at most 8192 × 4608")


def _zero_s(container: InputContainer, stream: VideoStream) -> float:
    zero = timeline_zero_s(container)
    if zero is None and stream.start_time is not None and stream.time_base:
        zero = float(stream.start_time * stream.time_base)
    return zero or 0.0


def _is_seekable(container: InputContainer) -> bool:
    return bool(_SEEKABLE & set(container.format.name.split(",")))


def _seek(container: InputContainer, stream: VideoStream, start: float) -> bool:
    """Go to the key frame before `start`; False where that is not to be relied on."""
    if not (_is_seekable(container) and stream.time_base):
        return False
    try:
        container.seek(int((_zero_s(container, stream) + start) / stream.time_base), stream=stream)
    except (FFmpegError, OverflowError):
        return False
    return True


def _pictures(
    path: Path, container: InputContainer, stream: VideoStream, sought: float | None, max_side: int | None
) -> Iterator[Picture]:
    """Pictures from the container's position on, in order; broken time stamps are mended.

    Args:
        path: For messages.
        container: Open file.
        stream: Its moving pictures.
        sought: Time in seconds that was sought; None from the beginning.
        max_side: As `read_frames`.
    """
    zero = _zero_s(container, stream)
    rate = stream.average_rate or stream.guessed_rate
    step = float(1 / rate) if rate else 0.04
    aspect = pixel_aspect(stream)
    last: float | None = None
    shift = 0.0
    for frame in decoded(container, stream, lambda: None):
        _check_size(path, frame.width, frame.height)
        if frame.is_corrupt or (frame.time is None and last is None and sought is not None):
            continue
        expected = 0.0 if last is None else last + step
        time = expected if frame.time is None else frame.time - zero + shift
        if not expected - _BACKWARDS_S <= time <= expected + MAX_GAP_S and (last is not None or sought is None):
            shift += expected - time
            time = expected
        if last is None and time < _NEAR_ZERO_S:
            time = min(time, 0.0)
        if last is not None and time <= last:
            continue
        if time > MAX_SECONDS:
            raise DataError(f"{path}: more than {MAX_SECONDS / 3600:g} h of video; cut it into shorter files")
        last = time
        shown_s = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else step
        yield Picture(frame, time, min(max(shown_s, 0.0), MAX_GAP_S), aspect, max_side)


def _shown(path: Path, container: InputContainer, stream: VideoStream) -> tuple[int, int, int] | None:
    """Height, width and turn in degrees as shown; None when no picture can be decoded."""
    frame = next(decoded(container, stream, lambda: None), None)
    if frame is None:
        return None
    _check_size(path, frame.width, frame.height)
    height, width = shown_size(frame.height, frame.width, pixel_aspect(stream), None)
    turn = degrees_clockwise(display_matrix(frame))
    return (height, width, turn) if turn % 180 == 0 else (width, height, turn)


def _duration_s(container: InputContainer) -> float:
    if container.duration is not None and container.duration > 0:
        return container.duration / 1e6
    # A live recording: its header was written before its end was known.
    streams = tuple(stream for stream in (audio_stream(container), video_stream(container)) if stream is not None)
    zero = timeline_zero_s(container) or 0.0
    end = 0.0
    try:
        for packet in container.demux(streams):
            if packet.pts is not None and packet.time_base:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base) - zero)
    except (FFmpegError, IndexError):  # IndexError: as in `decoded`
        return end
    return end
