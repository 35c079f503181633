"""The sound of a media file as mono pieces at its own rate: by libsndfile, or FFmpeg.

**The timeline.** Second 0 of a file with pictures is where its first sound or picture begins, whichever is earlier;
of one without pictures, its first sound. Where sound begins later, or its time stamps leave a gap, silence is put
in, so that a waveform's sample n is heard at ``n / sample_rate`` and agrees with the times of
`emofuse.media.video.read_frames`. A jump of more than `MAX_GAP_S` is a broken time stamp and changes nothing.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import soundfile as sf
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from emofuse.errors import DataError
from emofuse.media.container import UNDECODABLE, audio_stream, check_file, decoded, open_media, timeline_zero_s

MIN_SECONDS = 0.1
"""Shortest audio that is accepted; ten frames of 10 ms."""

MAX_SECONDS = 24 * 3600.0
"""Longest timeline that is accepted: a damaged or hostile header can claim centuries."""

MAX_GAP_S = 3600.0
"""Longest gap between time stamps that is believed, and the most silence that one file is given."""

_GAP_TOLERANCE_S = 0.05  # recorders round and jitter their time stamps; nobody sees lips be off by less
_UNKNOWN_LENGTH = 2**62  # libsndfile gives 2**63 - 1 frames for a stream whose header holds no length
_SIZE_UNKNOWN = 2**31 - 2**16  # bytes of sound from which a header means that the recorder did not know
_CUT_OFF = re.compile(r"^ ?(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)  # libsndfile's notes on a header
_READ_VALUES = 2**18  # samples times channels that libsndfile reads at once
# libsndfile also takes text named .vox for headerless sound, and its mp3 decoder prints notes and hides damage.
_SOUNDFILE_HEADS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"caff", b".snd", b"NIST", b"fLaC", b"OggS")


def decode(path: Path, start: float, end: float | None, problems: list[str]) -> Iterator[tuple[np.ndarray, int]]:
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
    """As `decode`; where libsndfile gives up on a damaged file, FFmpeg goes on."""
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
        # Channel by channel: numpy's mean of so short rows takes five times as long.
        return sum(channels.T[1:], start=channels[:, 0]) / np.float32(channels.shape[1])


def stated_duration_s(path: Path) -> float | None:
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
