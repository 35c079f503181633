"""Read mutated media files, each in a process with a time limit: none may crash it, hang or raise but an EmofuseError.

    python benchmarks/fuzz_media.py --n 1000 --seed 0

Seed files in every container are made by PyAV, then damaged: bytes flipped, sizes made huge, ends cut off, pieces
removed, repeated, zeroed or put in from another file. Exit 1 if a file made trouble; `--keep DIR` keeps such files.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from emofuse.errors import EmofuseError
from emofuse.media.audio import AudioSpool
from emofuse.media.video import probe, read_frames

CONTAINERS = {
    "wav": ("pcm_s16le", None),
    "flac": ("flac", None),
    "ogg": ("libopus", None),
    "mp3": ("libmp3lame", None),
    "m4a": ("aac", None),
    "mp4": ("aac", "libx264"),
    "mov": ("aac", "mpeg4"),
    "mpg": ("mp2", "mpeg1video"),
    "ts": ("mp2", "mpeg2video"),
    "webm": ("libopus", "libvpx"),
    "mkv": ("flac", "libx264"),
    "avi": ("libmp3lame", "mpeg4"),
}
"""Codecs of sound and of pictures by file name suffix."""

SEED_OPTIONS = {"m4a": {"movflags": "faststart"}, "mov": {"movflags": "faststart"}, "ogg": {"page_duration": "100000"}}
"""So that damage reaches headers that come first (in .mp4 they come last), and not all of a short file's sound."""

FAST = {"libvpx": {"deadline": "realtime", "cpu-used": "8"}, "libx264": {"preset": "veryfast"}}
LAYOUTS = {1: "mono", 2: "stereo", 7: "6.1", 8: "7.1"}
HOSTILE = [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", bytes(4), b"\x75\x30\x75\x30"]
OUTCOMES = ("read", "refused", "unexpected", "crashed", "hung")


class Clip(NamedTuple):
    """What `write_media` puts into a file.

    Attributes:
        waveform: (n_channels, n_samples) in [-1, 1]; None for a file without sound.
        sample_rate: Samples per second.
        pictures: (n_pictures, height, width, 3) uint8 RGB; None for a file without pictures.
        times_s: When each picture begins; empty for 25 a second.
        audio_start_s: When the sound begins.
        turn: Degrees anticlockwise by which the pictures are to be turned when shown.
    """

    waveform: np.ndarray | None
    sample_rate: int = 48_000
    pictures: np.ndarray | None = None
    times_s: tuple[float, ...] = ()
    audio_start_s: float = 0.0
    turn: int = 0


def write_media(
    path: Path, clip: Clip, codecs: tuple[str | None, str | None] | None = None, options: dict[str, str] | None = None
) -> Path:
    """Encode a clip in the container that the file's suffix names.

    Args:
        path: File to write.
        clip: Sound and pictures.
        codecs: Of sound and of pictures; those of `CONTAINERS` when None.
        options: Of the container, such as ``{"movflags": "faststart"}``.
    """
    audio_codec, video_codec = codecs or CONTAINERS[path.suffix[1:]]
    with av.open(str(path), "w", options=options or {}) as container:
        video = audio = None
        if clip.pictures is not None and video_codec:
            height, width = clip.pictures.shape[1:3]
            video = container.add_stream(video_codec, rate=25, width=width, height=height)
            video.pix_fmt, video.codec_context.gop_size = "yuv420p", 12
            video.codec_context.options = FAST.get(video_codec, {})
            if clip.turn:
                video.set_display_rotation(clip.turn)
            if clip.times_s:
                video.codec_context.time_base = Fraction(1, 1000)
        if clip.waveform is not None and audio_codec:
            audio = container.add_stream(audio_codec, rate=clip.sample_rate, layout=LAYOUTS[len(clip.waveform)])
        packets = [] if video is None else list(_encode_pictures(video, clip))
        packets += [] if audio is None else list(_encode_sound(audio, clip))
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def _encode_pictures(stream: av.VideoStream, clip: Clip) -> Iterator[av.Packet]:
    times = clip.times_s or [n / 25 for n in range(len(clip.pictures))]
    ticks = 1000 if clip.times_s else 25
    for picture, time_s in zip(clip.pictures, times, strict=True):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = round(time_s * ticks), Fraction(1, ticks)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _encode_sound(stream: av.AudioStream, clip: Clip) -> Iterator[av.Packet]:
    layout = LAYOUTS[len(clip.waveform)]
    interleaved = np.ascontiguousarray(clip.waveform.T, np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
    frame.sample_rate, frame.time_base = clip.sample_rate, Fraction(1, clip.sample_rate)
    frame.pts = round(clip.audio_start_s * clip.sample_rate)
    for converted in av.AudioResampler(format=stream.format.name).resample(frame):
        yield from stream.encode(converted)
    yield from stream.encode(None)


def example_clip(seconds: float = 2.0) -> Clip:
    """A rising tone, and a bright bar that moves over a dark ground."""
    time_s = np.arange(round(seconds * 48_000)) / 48_000
    pictures = np.full((round(seconds * 25), 48, 64, 3), 40, np.uint8)
    for n, picture in enumerate(pictures):
        picture[:, n % 60 : n % 60 + 4] = 220
    return Clip(0.5 * np.sin(2 * np.pi * (200 + 100 * time_s) * time_s)[None], pictures=pictures)


def mutate(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A damaged copy of `data`; pieces of `other` may be put in."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        if len(changed) < 16:
            return bytes(changed)
        at = int(rng.integers(len(changed))) if rng.random() < 0.5 else int(rng.integers(min(len(changed), 600)))
        size = int(rng.integers(1, 1 + max(1, len(changed) // 8)))
        match rng.integers(8):
            case 0:
                for place in rng.integers(len(changed), size=rng.integers(1, 64)):
                    changed[place] = rng.integers(256)
            case 1:
                changed[at] ^= 1 << int(rng.integers(8))
            case 2:
                changed[at : at + 4] = HOSTILE[rng.integers(len(HOSTILE))]
            case 3:
                del changed[max(at, 8) :]
            case 4:
                del changed[at : at + size]
            case 5:
                changed[at:at] = changed[at : at + size]
            case 6:
                changed[at : at + size] = bytes(len(changed[at : at + size]))
            case _:
                start = int(rng.integers(len(other)))
                changed[at : at + size] = other[start : start + size]
    return bytes(changed)


def check(path: Path) -> tuple[str, str]:
    """Outcome of reading a file with every reader, and what there is to say: an error's line."""
    outcomes = []
    for read in (probe, _hear, _look):
        try:
            read(path)
        except EmofuseError as error:
            if "\n" in str(error) or not str(error).startswith(f"{path}: "):
                return "unexpected", f"not one line that names the file: {error}"
            outcomes.append(("refused", str(error)))
        except Exception as error:
            return "unexpected", f"{read.__name__}: {error!r}"
        else:
            outcomes.append(("read", ""))
    return max(outcomes[1:], key=lambda outcome: outcome[0] == "read")


def _hear(path: Path) -> None:
    with AudioSpool(path) as spool:
        n_samples = 0
        for block in spool.blocks(60.0):
            if not np.isfinite(block).all():
                raise ValueError("not finite")
            n_samples += len(block)
        if n_samples != round(spool.duration_s * 16_000) or (spool.problem and "\n" in spool.problem):
            raise ValueError(f"{n_samples} samples, {spool.duration_s} s, {spool.problem}")


def _look(path: Path) -> None:
    times = [-1.0]
    for frame in read_frames(path, 5.0, max_side=64):
        if frame.time_s <= times[-1] or frame.image.dtype != np.uint8 or max(frame.image.shape) > 64:
            raise ValueError(f"{frame.time_s} s after {times[-1]} s, {frame.image.shape}")
        times.append(frame.time_s)
    next(read_frames(path, 5.0, start_s=11.0, max_side=64), None)


def _work(connection: Connection) -> None:
    """Check the files whose names come in until the parent ends."""
    warnings.simplefilter("error")
    while path := connection.recv():
        connection.send(check(path))


class Worker:
    """A process that checks files; a new one takes the place of one that crashed or hung."""

    def __init__(self) -> None:
        """Start the process."""
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def check(self, path: Path, timeout_s: float) -> tuple[str, str]:
        """Outcome of a file, one of `OUTCOMES`, and what there is to say."""
        self._connection.send(path)
        try:
            if self._connection.poll(timeout_s):
                return self._connection.recv()
            outcome = "hung", f"over {timeout_s:g} s"
        except EOFError:
            self._process.join()
            outcome = "crashed", f"exit code {self._process.exitcode}"
        self.stop()
        self._start()
        return outcome

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def main() -> None:
    """Print how many files were read, refused or made trouble; exit 1 for trouble."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000, help="number of mutated files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds a file may take")
    parser.add_argument("--keep", type=Path, help="folder for the files that made trouble")
    options = parser.parse_args()
    counts = {suffix: Counter() for suffix in CONTAINERS}
    slowest = 0.0, ""
    worker = Worker()
    with tempfile.TemporaryDirectory() as folder:
        seeds = [
            write_media(Path(folder) / f"seed.{suffix}", example_clip(), options=SEED_OPTIONS.get(suffix)).read_bytes()
            for suffix in CONTAINERS
        ]
        worker.check(Path(folder) / "seed.mp4", 120.0)  # starting is not a file's fault
        for n in range(options.n):
            suffix = list(CONTAINERS)[n % len(CONTAINERS)]
            rng = np.random.default_rng([options.seed, n])
            path = Path(folder) / f"mutated-{n}.{suffix}"
            path.write_bytes(mutate(seeds[n % len(seeds)], seeds[rng.integers(len(seeds))], rng))
            began = time.monotonic()
            outcome, words = worker.check(path, options.timeout)
            slowest = max(slowest, (time.monotonic() - began, path.name))
            counts[suffix][outcome] += 1
            if outcome not in ("read", "refused"):
                print(f"{path.name} {outcome}: {words}", flush=True)
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / path.name).write_bytes(path.read_bytes())
            path.unlink()
    worker.stop()
    print("".join(f"{name:>12}" for name in ("container", *OUTCOMES)))
    for suffix, found in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(f"{suffix:>12}" + "".join(f"{found[outcome]:>12}" for outcome in OUTCOMES))
    print(f"slowest: {slowest[1]}, {slowest[0]:.1f} s")
    total = sum(counts.values(), Counter())
    sys.exit(int(any(total[outcome] for outcome in OUTCOMES[2:])))


if __name__ == "__main__":
    main()
