"""Audio of any media file as a mono waveform: a part at once, in blocks, or decoded once and kept on disk.

Its timeline: see `emofuse.media.decoding`. A waveform's sample n is heard at ``n / sample_rate``, and agrees with the
times of `emofuse.media.video.read_frames`.
"""

import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
import soxr

from emofuse.errors import DataError
from emofuse.media.decoding import MAX_SECONDS, MIN_SECONDS, decode, stated_duration_s

SAMPLE_RATE = 16_000
"""Samples per second of every waveform in emofuse."""

END_TOLERANCE_S = 0.5
"""How far a part may reach beyond the end: annotated times are rounded, recognisers overshoot."""

_LOUDEST = 1e4  # floats far beyond full scale would overflow in the resampler
_RATES = range(1_000, 768_001)  # a damaged header can hold any other
_SPOOL_BYTES = 64 * 2**20


def read_audio(
    path: Path, start_s: float | None = None, end_s: float | None = None, sample_rate: int = SAMPLE_RATE
) -> np.ndarray:
    """Read a media file, or a part of it, as one channel.

    Channels are averaged, then resampled by soxr; samples beyond full scale are clipped.

    Args:
        path: Audio or video file; libsndfile reads it, or FFmpeg mp3 and what libsndfile does not know.
        start_s: Start of the part in seconds on the file's timeline; None is 0.
        end_s: End of the part in seconds; None is the end. At most `END_TOLERANCE_S` beyond the end.
        sample_rate: Samples per second of the result.

    Returns:
        float32 ``(n_samples,)`` in [-1, 1].

    Raises:
        DataError: The file is missing, a folder, empty, damaged or not decodable, has no audio stream, holds
            less than `MIN_SECONDS` or NaN or infinite samples, or the part is not within it.
    """
    start = start_s or 0.0
    _check_order(path, start, end_s)
    problems: list[str] = []
    pieces = list(_resampled(path, problems, start, end_s, sample_rate))
    waveform = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if problems:
        raise DataError(problems[0])
    _check_part(path, start, end_s, len(waveform) / sample_rate, lambda: audio_duration_s(path))
    return waveform


def stream_audio(path: Path, block_s: float = 30.0) -> Iterator[np.ndarray]:
    """The waveform of `read_audio`, block by block, in memory that does not grow with the file.

    Args:
        path: Audio or video file.
        block_s: Length of a block in seconds; the last one is shorter.

    Yields:
        float32 ``(n_samples,)`` in [-1, 1] at `SAMPLE_RATE`.

    Raises:
        DataError: As `read_audio`; for a damaged file after the blocks of what could be decoded.
    """
    problems: list[str] = []
    yield from _in_blocks(path, block_s, problems)
    if problems:
        raise DataError(problems[0])


def root_mean_square(waveform: np.ndarray) -> float:
    """Of float32 (n_samples,)."""
    return float(np.sqrt(np.mean(waveform**2)))


class AudioSpool:
    """The waveform of a file, decoded once and read in any order; what is long lies on disk, not in memory.

    ::

        with AudioSpool(path) as spool:
            utterance = spool.read(12.5, 14.0)

    A damaged file gives what could be decoded, if that is `MIN_SECONDS` at least, and says so in `problem`.

    Args:
        path: Audio or video file.
        on_progress: Called with the seconds decoded so far, about every 30 s of sound.

    Attributes:
        path: The file.
        problem: What is wrong with a damaged file, in one line; None for a sound one.

    Raises:
        DataError: On entering the context, as `read_audio`; also when the disk has no room.
    """

    def __init__(self, path: Path, on_progress: Callable[[float], None] | None = None) -> None:
        """See the class; the file is opened on entering the context."""
        self.path = path
        self.problem: str | None = None
        self._on_progress = on_progress
        self._file: IO[bytes] | None = None
        self._n_samples = 0

    def __enter__(self) -> Self:
        """Decode the file."""
        self._file = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)
        try:
            self._fill(self._file)
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the decoded samples."""
        assert self._file is not None
        self._file.close()

    @property
    def duration_s(self) -> float:
        """Seconds from 0 to the last sample."""
        return self._n_samples / SAMPLE_RATE

    def read(self, start_s: float, end_s: float) -> np.ndarray:
        """A part, as `read_audio` cuts it: float32 ``(n_samples,)`` in [-1, 1] at `SAMPLE_RATE`.

        Raises:
            DataError: The part is shorter than `MIN_SECONDS`, or ends over `END_TOLERANCE_S` beyond the end.
        """
        _check_order(self.path, start_s, end_s)
        first = min(round(start_s * SAMPLE_RATE), self._n_samples)
        last = min(round(min(end_s, MAX_SECONDS) * SAMPLE_RATE), self._n_samples)
        seconds = max(0, last - first) / SAMPLE_RATE
        _check_part(self.path, start_s, end_s, seconds, lambda: self.duration_s)
        return self._samples(first, last)

    def blocks(self, block_s: float = 30.0) -> Iterator[np.ndarray]:
        """The whole waveform in blocks of `block_s` seconds; the last one is shorter."""
        size = max(1, round(block_s * SAMPLE_RATE))
        for first in range(0, self._n_samples, size):
            yield self._samples(first, min(first + size, self._n_samples))

    def _samples(self, first: int, last: int) -> np.ndarray:
        assert self._file is not None
        self._file.seek(first * 4)
        return np.frombuffer(bytearray(self._file.read((last - first) * 4)), dtype=np.float32)

    def _fill(self, file: IO[bytes]) -> None:
        problems: list[str] = []
        for block in _in_blocks(self.path, 30.0, problems):
            try:
                file.write(block.tobytes())
            except OSError as error:
                raise DataError(f"{self.path}: no room in {tempfile.gettempdir()} ({error.strerror})") from None
            self._n_samples += len(block)
            if self._on_progress is not None:
                self._on_progress(self.duration_s)
        stated = stated_duration_s(self.path)
        if not problems and stated is not None and self.duration_s < stated - max(1.0, 0.05 * stated):
            problems.append(f"{self.path}: sound ends at {self.duration_s:.1f} s of the {stated:.1f} s in its header")
        self.problem = problems[0] if problems else None


def audio_duration_s(path: Path) -> float:
    """Length of a file's audio in seconds, as its header states it (else counted by decoding).

    Raises:
        DataError: The file is missing, a folder, empty or not decodable, or has no audio stream.
    """
    stated = stated_duration_s(path)
    if stated is not None:
        return stated
    return sum(len(samples) / rate for samples, rate in decode(path, 0.0, None, []))


def _check_order(path: Path, start: float, end: float | None) -> None:
    if not (math.isfinite(start) and start >= 0 and (end is None or end > start)):
        raise DataError(f"{path}: part from {start:g} s to {end} s; need 0 <= start < end")


def _check_part(path: Path, start: float, end: float | None, seconds: float, duration_s: Callable[[], float]) -> None:
    """Check that a part, of which `seconds` were found, is within the file and long enough."""
    beyond = start > 0 and seconds == 0
    if beyond or (end is not None and start + seconds < end - END_TOLERANCE_S):
        part = f"{start:g} s to {'its end' if end is None else f'{end:g} s'}"
        raise DataError(f"{path}: part from {part} lies beyond the end at {duration_s():.2f} s")
    _check_length(path, seconds)


def _check_length(path: Path, seconds: float) -> None:
    if seconds < MIN_SECONDS:
        raise DataError(f"{path}: {seconds:.3g} s of audio, need at least {MIN_SECONDS:g} s")


def _in_blocks(path: Path, block_s: float, problems: list[str]) -> Iterator[np.ndarray]:
    """The whole waveform at `SAMPLE_RATE` in equal blocks; damage is added to `problems`."""
    size = max(1, round(block_s * SAMPLE_RATE))
    pending: list[np.ndarray] = []
    n_pending = n_given = 0
    for piece in _resampled(path, problems):
        pending.append(piece)
        n_pending += len(piece)
        if n_pending >= size and n_given + n_pending >= MIN_SECONDS * SAMPLE_RATE:
            waveform = np.concatenate(pending)
            whole = n_pending - n_pending % size
            yield from np.split(waveform[:whole], range(size, whole, size))
            pending, n_given, n_pending = [waveform[whole:]], n_given + whole, n_pending - whole
    if problems and (n_given + n_pending) < MIN_SECONDS * SAMPLE_RATE:
        raise DataError(problems[0])
    _check_length(path, (n_given + n_pending) / SAMPLE_RATE)
    if n_pending:
        rest = np.concatenate(pending)
        yield from np.split(rest, range(size, len(rest), size))


def _resampled(
    path: Path, problems: list[str], start: float = 0.0, end: float | None = None, sample_rate: int = SAMPLE_RATE
) -> Iterator[np.ndarray]:
    """Pieces of the part as `read_audio` gives it; damage is added to `problems`."""
    resampler = None
    seconds = 0.0
    for samples, rate in _joined(decode(path, start, end, problems)):
        if rate not in _RATES:
            raise DataError(f"{path}: {rate} samples per second; need {_RATES[0]} to {_RATES[-1]}")
        if not np.isfinite(samples).all():
            raise DataError(f"{path}: holds NaN or infinite samples")
        seconds += len(samples) / rate
        if seconds > MAX_SECONDS:
            raise DataError(f"{path}: more than {MAX_SECONDS / 3600:g} h of audio; cut it into shorter files")
        if rate == sample_rate:
            yield np.clip(samples, -1.0, 1.0)
            continue
        resampler = resampler or soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")
        yield np.clip(resampler.resample_chunk(np.clip(samples, -_LOUDEST, _LOUDEST)), -1.0, 1.0)
    if resampler is not None:
        yield np.clip(resampler.resample_chunk(np.zeros(0, np.float32), last=True), -1.0, 1.0)


def _joined(pieces: Iterator[tuple[np.ndarray, int]]) -> Iterator[tuple[np.ndarray, int]]:
    """The same samples in pieces of at least a second: per piece, the work that follows costs more than per sample."""
    pending: list[np.ndarray] = []
    n_pending = rate = 0
    for samples, rate in pieces:
        pending.append(samples)
        n_pending += len(samples)
        if n_pending >= rate:
            yield np.concatenate(pending), rate
            pending, n_pending = [], 0
    if pending:
        yield np.concatenate(pending), rate
