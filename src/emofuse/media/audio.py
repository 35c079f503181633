"""Audio of any media file as a mono waveform."""

from pathlib import Path

import av
import numpy as np
import soundfile as sf
import soxr
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from emofuse.errors import DataError

SAMPLE_RATE = 16_000
"""Samples per second of every waveform in emofuse."""

MIN_SECONDS = 0.1
"""Shortest audio that is accepted; ten frames of 10 ms."""

END_TOLERANCE_S = 0.5
"""How far a part may reach beyond the end: annotated times are rounded, recognisers overshoot."""

_UNKNOWN_LENGTH = 2**62  # libsndfile gives 2**63 - 1 frames for a stream whose header holds no length
_UNDECODABLE = "not a media file that can be decoded"


def read_audio(
    path: Path, start_s: float | None = None, end_s: float | None = None, sample_rate: int = SAMPLE_RATE
) -> np.ndarray:
    """Read a media file, or a part of it, as one channel.

    Channels are averaged, then resampled by soxr; samples beyond full scale are clipped.

    Args:
        path: Audio or video file; libsndfile reads it, or FFmpeg what libsndfile does not know.
        start_s: Start of the part in seconds after the first audio sample; None is 0.
        end_s: End of the part in seconds; None is the end. At most `END_TOLERANCE_S` beyond the end.
        sample_rate: Samples per second of the result.

    Returns:
        float32 ``(n_samples,)`` in [-1, 1].

    Raises:
        DataError: The file is missing, a folder, empty or not decodable, has no audio stream, holds
            less than `MIN_SECONDS` or NaN or infinite samples, or the part is not within it.
    """
    _check_file(path)
    start = start_s or 0.0
    if not (start >= 0 and (end_s is None or end_s > start)):
        raise DataError(f"{path}: part from {start:g} s to {end_s} s; need 0 <= start < end")
    sound = _open_soundfile(path)
    if sound is None:
        samples, rate = _decode_ffmpeg(path, start, end_s)
    else:
        with sound:
            samples, rate = _read_soundfile(path, sound, start, end_s)

    seconds = len(samples) / rate
    beyond = start > 0 and seconds == 0
    if beyond or (end_s is not None and start + seconds < end_s - END_TOLERANCE_S):
        part = f"{start:g} s to {'its end' if end_s is None else f'{end_s:g} s'}"
        raise DataError(f"{path}: part from {part} lies beyond the end at {audio_duration_s(path):.2f} s")
    if seconds < MIN_SECONDS:
        raise DataError(f"{path}: {seconds:.3g} s of audio, need at least {MIN_SECONDS:g} s")
    if not np.isfinite(samples).all():
        raise DataError(f"{path}: holds NaN or infinite samples")
    waveform = soxr.resample(samples, rate, sample_rate) if rate != sample_rate else samples
    return np.clip(waveform, -1.0, 1.0)


def audio_duration_s(path: Path) -> float:
    """Length of a file's audio in seconds, as its header states it (else counted by decoding).

    Raises:
        DataError: The file is missing, a folder, empty or not decodable, or has no audio stream.
    """
    _check_file(path)
    sound = _open_soundfile(path)
    if sound is not None:
        with sound:
            return sound.frames / sound.samplerate
    try:
        with _open_ffmpeg(path) as container:
            stream = _audio_stream(path, container)
            if stream.duration and stream.time_base:
                return float(stream.duration * stream.time_base)
    except FFmpegError:
        raise DataError(f"{path}: {_UNDECODABLE}") from None
    samples, rate = _decode_ffmpeg(path, 0.0, None)
    return len(samples) / rate


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"{path}: a folder, not a media file")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: empty file")


def _open_soundfile(path: Path) -> sf.SoundFile | None:
    """The open file, or None when libsndfile does not know its format or its length."""
    try:
        sound = sf.SoundFile(path)
    except (sf.LibsndfileError, TypeError):  # TypeError: a headerless file named .raw
        return None
    if sound.frames >= _UNKNOWN_LENGTH:
        sound.close()
        return None
    return sound


def _read_soundfile(path: Path, sound: sf.SoundFile, start: float, end: float | None) -> tuple[np.ndarray, int]:
    """Mono float32 samples of the part, and their rate."""
    rate = sound.samplerate
    first = min(round(start * rate), sound.frames)
    last = sound.frames if end is None else min(round(end * rate), sound.frames)
    try:
        sound.seek(first)
        return sound.read(last - first, dtype="float32", always_2d=True).mean(axis=1), rate
    except sf.LibsndfileError:
        raise DataError(f"{path}: {_UNDECODABLE}") from None


def _open_ffmpeg(path: Path) -> InputContainer:
    # Playlist formats name further addresses: an uploaded one must not make FFmpeg fetch them.
    return av.open(str(path), options={"protocol_whitelist": "file"}, metadata_errors="ignore")


def _audio_stream(path: Path, container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise DataError(f"{path}: no audio stream")
    return container.streams.audio[0]


def _decode_ffmpeg(path: Path, start: float, end: float | None) -> tuple[np.ndarray, int]:
    """As `_read_soundfile`. Decodes from the beginning: seeking is inexact in several containers."""
    chunks: list[np.ndarray] = []
    position = 0
    try:
        with _open_ffmpeg(path) as container:
            stream = _audio_stream(path, container)
            rate = stream.rate
            first, last = round(start * rate), None if end is None else round(end * rate)
            to_float = av.AudioResampler(format="fltp")
            for frame in container.decode(stream):
                for planar in to_float.resample(frame):
                    mono = planar.to_ndarray().mean(axis=0)
                    chunks.append(mono[max(first - position, 0) : None if last is None else max(last - position, 0)])
                    position += len(mono)
                if last is not None and position >= last:
                    break
    except (FFmpegError, ValueError):  # ValueError: the format changes within the stream
        raise DataError(f"{path}: {_UNDECODABLE}") from None
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32), rate
