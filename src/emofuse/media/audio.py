"""Audio of any media file as a mono waveform: a part at once, in blocks, or decoded once and kept on disk.

**The timeline.** Second 0 of a file with pictures is where its first sound or picture begins, whichever is earlier;
of one without pictures, its first sound. Where sound begins later, or its time stamps leave a gap, silence is put
in, so that a waveform's sample n is heard at ``n / sample_rate`` and agrees with the times of
`emofuse.media.video.read_frames`. A jump of more than `MAX_GAP_S` is a broken time stamp and changes nothing.
"""

import math
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import av
import numpy as np
import soundfile as sf
import soxr
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from emofuse.errors import DataError
from emofuse.media.container import UNDECODABLE, audio_stream, check_file, decoded, open_media, timeline_zero_s

SAMPLE_RATE = 16_000
"""Samples per second of every waveform in emofuse."""

MIN_SECONDS = 0.1
"""Shortest audio that is accepted; ten frames of 10 ms."""

MAX_SECONDS = 24 * 3600.0
"""Longest timeline that is accepted: a damaged or hostile header can claim centuries."""

END_TOLERANCE_S = 0.5
"""How far a part may reach beyond the end: annotated times are rounded, recognisers overshoot."""

MAX_GAP_S = 3600.0
"""Longest gap between time stamps that is believed, and the most silence that one file is given."""

_GAP_TOLERANCE_S = 0.05  # recorders round and jitter their time stamps; nobody sees lips be off by less
_UNKNOWN_LENGTH = 2**62  # libsndfile gives 2**63 - 1 frames for a stream whose header holds no length
_SIZE_UNKNOWN = 2**31 - 2**16  # bytes of sound from which a header means that the recorder did not know
_CUT_OFF = re.compile(r"^ ?(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)  # libsndfile's notes on a header
_RATES = range(1_000, 768_001)  # a damaged header can hold any other
_LOUDEST = 1e4  # floats far beyond full scale would overflow in the resampler
_READ_VALUES = 2**18  # samples times channels that libsndfile reads at once
_SPOOL_BYTES = 64 * 2**20
# libsndfile also takes text named .vox for headerless sound, and its mp3 decoder prints notes and hides damage.
_SOUNDFILE_HEADS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"caff", b".snd", b"NIST", b"fLaC", b"OggS")


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
        stated = _stated_duration_s(self.path)
        if not problems and stated is not None and self.duration_s < stated - max(1.0, 0.05 * stated):
            problems.append(f"{self.path}: sound ends at {self.duration_s:.1f} s of the {stated:.1f} s in its header")
        self.problem = problems[0] if problems else None


def audio_duration_s(path: Path) -> float:
    """Length of a file's audio in seconds, as its header states it (else counted by decoding).

    Raises:
        DataError: The file is missing, a folder, empty or not decodable, or has no audio stream.
    """
    stated = _stated_duration_s(path)
    if stated is not None:
        return stated
    return sum(len(samples) / rate for samples, rate in _decode(path, 0.0, None, []))


def _stated_duration_s(path: Path) -> float | None:
    """Length on the timeline as the header states it."""
    sound = open_sound(path)
    if sound is not None:
        with sound:
            return sound.frames * _promised(sound) / sound.samplerate
    with open_media(path) as container:
        stream = _audio_stream(path, container)
        if not (stream.duration and stream.time_base):
            return None
        seconds = float(stream.duration * stream.time_base)
        zero = timeline_zero_s(container)
        if zero is None or stream.start_time is None:
            return seconds
        late = float(stream.start_time * stream.time_base) - zero
        return seconds + late if 0 < late <= MAX_GAP_S else seconds


def _promised(sound: sf.SoundFile) -> float:
    """How many times as long as a WAV or AIFF file is its header says that it is: more than 1 where it was cut off.

    What recorders write that do not know the length yet is not believed.
    """
    found = _CUT_OFF.search(sound.extra_info)
    stated, there = (int(found[1]), int(found[2])) if found else (1, 1)
    return stated / there if 0 < there < stated < _SIZE_UNKNOWN else 1.0


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
    for samples, rate in _joined(_decode(path, start, end, problems)):
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


def _decode(path: Path, start: float, end: float | None, problems: list[str]) -> Iterator[tuple[np.ndarray, int]]:
    """Mono float32 pieces of the part at the file's own rate, and that rate, the same for all."""
    sound = open_sound(path)
    if sound is None:
        yield from _decode_ffmpeg(path, start, end, problems)
        return
    with sound:
        yield from _decode_soundfile(path, sound, start, end, problems)


def open_sound(path: Path) -> sf.SoundFile | None:
    """The open file, or None when it is not for libsndfile: another format, or its header holds no length.

    Raises:
        DataError: The file is missing, a folder or empty.
    """
    check_file(path)
    with path.open("rb") as file:
        if not file.read(4).startswith(_SOUNDFILE_HEADS):
            return None
    try:
        sound = sf.SoundFile(path)
    except (sf.LibsndfileError, TypeError):  # TypeError: the name ends in .raw
        return None
    if not 0 < sound.frames < _UNKNOWN_LENGTH:  # 0 is what recorders leave that were switched off
        sound.close()
        return None
    return sound


def _decode_soundfile(
    path: Path, sound: sf.SoundFile, start: float, end: float | None, problems: list[str]
) -> Iterator[tuple[np.ndarray, int]]:
    """As `_decode`; where libsndfile gives up on a damaged file, FFmpeg goes on."""
    rate = sound.samplerate
    first = min(round(start * rate), sound.frames)
    last = sound.frames if end is None or end > MAX_SECONDS else min(round(end * rate), sound.frames)
    size = max(1, _READ_VALUES // sound.channels)
    try:
        sound.seek(first)
        while first < last and len(samples := sound.read(min(size, last - first), dtype="float32", always_2d=True)):
            yield _mono(samples), rate
            first += len(samples)
    except sf.LibsndfileError:
        pass  # as when it gives no more samples
    if first < last:
        found = first
        for samples, _ in _rescued(path, first, rate, end):
            found += len(samples)
            yield samples, rate
        if found < last - MIN_SECONDS * rate:
            what = f"sound ends at {found / rate:.1f} s of the {sound.frames / rate:.1f} s in its header"
        else:
            what = f"the sound after {first / rate:.1f} s is not all there"
        problems.append(f"{path}: damaged; {what}")


def _rescued(path: Path, first: int, rate: int, end: float | None) -> Iterator[tuple[np.ndarray, int]]:
    """What FFmpeg finds of a damaged file from sample `first` on."""
    try:
        for samples, found_rate in _decode_ffmpeg(path, first / rate, end, []):
            if found_rate != rate:
                return
            yield samples, rate
    except DataError:
        return  # FFmpeg cannot open it


def _audio_stream(path: Path, container: InputContainer) -> AudioStream:
    stream = audio_stream(container)
    if stream is None:
        raise DataError(f"{path}: no audio stream")
    return stream


def _decode_ffmpeg(
    path: Path, start: float, end: float | None, problems: list[str]
) -> Iterator[tuple[np.ndarray, int]]:
    """Decodes from the beginning: seeking is inexact in several containers."""
    bad_s: list[float] = []
    position = 0
    with open_media(path) as container:
        for mono, rate in _on_timeline(container, _audio_stream(path, container), bad_s):
            first, last = round(start * rate), None if end is None else round(min(end, MAX_SECONDS) * rate)
            part = mono[max(first - position, 0) : None if last is None else max(last - position, 0)]
            position += len(mono)
            if len(part):
                yield part, rate
            if last is not None and position >= last:
                break
    if bad_s and position:
        problems.append(f"{path}: damaged; {len(bad_s)} packets of sound are lost, the first at {bad_s[0]:.1f} s")
    elif bad_s:
        problems.append(f"{path}: {UNDECODABLE}")


def _on_timeline(
    container: InputContainer, stream: AudioStream, bad_s: list[float]
) -> Iterator[tuple[np.ndarray, int]]:
    """Mono pieces from second 0 on, with silence where time stamps leave a gap; times of damage go to `bad_s`."""
    zero = timeline_zero_s(container)
    position = silence = rate = 0
    form, resampler, planar = None, av.AudioResampler(), True

    def on_damage() -> None:
        bad_s.append(position / rate if rate else 0.0)

    for frame in decoded(container, stream, on_damage):
        rate = rate or frame.sample_rate
        if frame.time is not None:
            zero = frame.time if zero is None else zero
            gap = round((frame.time - zero) * rate) - position
            if gap > (_GAP_TOLERANCE_S * rate if position else 0) and silence + gap <= MAX_GAP_S * rate:
                yield from ((np.zeros(min(rate, gap - done), np.float32), rate) for done in range(0, gap, rate))
                position, silence = position + gap, silence + gap
        if form != (form := (frame.format.name, frame.layout.name, frame.sample_rate)):  # may change midway
            # PyAV runs over the end of the list of planes of 8 and more channels: those are interleaved.
            planar = frame.layout.nb_channels < 8
            resampler = av.AudioResampler(format="fltp" if planar else "flt", rate=rate)
        try:
            arrays = [(part.to_ndarray(), part.samples) for part in resampler.resample(frame)]
            pieces = [_mono(array.T if planar else array.reshape(n_samples, -1)) for array, n_samples in arrays]
        except (FFmpegError, ValueError):
            on_damage()
            continue
        for mono in pieces:
            position += len(mono)
            yield mono, rate


def _mono(channels: np.ndarray) -> np.ndarray:
    """(n_samples, n_channels) -> (n_samples,)."""
    if channels.shape[1] == 1:
        return channels[:, 0]
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later, in words
        return channels.mean(axis=1)
