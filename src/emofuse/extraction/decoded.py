"""The sound of a corpus, decoded and resampled once, as one file of int16 that is mapped into memory.

Training reads its clips from there, epoch after epoch and in many processes at once, in memory that does not grow
with the corpus. A file is of one list of clips, of their first `max_s` seconds; layout, readable with safetensors::

    NAME-HASH.audio.safetensors     HASH is of the paths, the parts of them, and the settings
        first, n_samples   (n,) int64     place of each clip in `samples`
        rms                (n,) float64   root mean square of each clip
        scale              (n,) float32   a sample is its int16 times this
        samples            (total,) int16
        metadata: ``sources``, a hash of size and time of change of each file: another one makes the file anew

A clip of 16 bits at 16 kHz is stored as it is. Others are scaled by their own peak, which is not limited to 1, so that
a sample is wrong by 2^-16 of its clip's peak at most.
"""

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from emofuse.errors import DataError
from emofuse.features.mapped import map_tensors
from emofuse.media.audio import SAMPLE_RATE, read_audio, root_mean_square

LIMIT_BYTES = 20 * 10**9
"""Of a folder: files that were not used for the longest time go when a new one is written; about 170 hours of sound."""

_FORMAT = "emofuse-audio-1"
_FILES = "*-????????????????.audio.safetensors"
_HEADER_BYTES = 2040  # with the eight bytes that state this number a multiple of what mapped numbers align to
_COLUMNS = {"first": ("I64", "<i8"), "n_samples": ("I64", "<i8"), "rms": ("F64", "<f8"), "scale": ("F32", "<f4")}
_ABANDONED_S = 24 * 3600.0
_FULL_SCALE = 2**15


class Clip(NamedTuple):
    """A media file, or the part from `start_s` to `end_s` of it, as `read_audio` takes them."""

    path: Path
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class StoredWaveform:
    """A clip in a mapped file. It has a length, can be cut, and becomes float32 where an array is made of it.

    Attributes:
        samples: (n_samples,) int16.
        scale: What they are multiplied with.
        rms: Root mean square of the clip as it was decoded.
    """

    samples: np.ndarray
    scale: np.float32
    rms: float

    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_samples,)."""
        return self.samples.shape

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.samples)

    def __getitem__(self, part: slice) -> "StoredWaveform":
        """A part, which is still on disk."""
        return replace(self, samples=self.samples[part])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """float32 (n_samples,)."""
        return (self.samples * self.scale).astype(dtype or np.float32, copy=False)

    def times(self, gain: float) -> "StoredWaveform":
        """The same, louder or softer."""
        return replace(self, scale=self.scale * np.float32(gain))


def quantised(waveform: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """Finite float32 (n_samples,) -> int16 (n_samples,), and what it is to be multiplied with."""
    steps = waveform * np.float32(_FULL_SCALE)  # exact
    low, high = float(steps.min(initial=0.0)), float(steps.max(initial=0.0))
    if low >= -_FULL_SCALE and high < _FULL_SCALE and np.array_equal(steps, np.rint(steps)):
        return steps.astype(np.int16), np.float32(1 / _FULL_SCALE)
    scale = max(-low, high) / _FULL_SCALE / (_FULL_SCALE - 1)
    return np.rint(waveform / scale).astype(np.int16), np.float32(scale)


def decoded(
    clips: Sequence[Clip], folder: Path, name: str, max_s: float, on_clip: Callable[[], object] = lambda: None
) -> list[StoredWaveform]:
    """The waveforms of clips, from the file in `folder` or, where it is missing or older than they are, into it.

    Several processes may do so at once: each writes a file of its own, and renames it when it is whole.

    Args:
        clips: What to decode.
        folder: Made if it is not there.
        name: The corpus', for the file's name.
        max_s: Seconds kept of each clip.
        on_clip: Called after each clip that had to be decoded.

    Raises:
        DataError: As `read_audio`; or there is no room in the folder.
    """
    described = [[str(clip.path.absolute()), clip.start_s, clip.end_s] for clip in clips]
    path = folder / f"{name}-{_digest([_FORMAT, SAMPLE_RATE, max_s, described])[:16]}.audio.safetensors"
    sources = _digest([_state(clip.path) for clip in clips])
    if _metadata(path).get("sources") != sources:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(path, clips, round(max_s * SAMPLE_RATE), sources, on_clip)
        except OSError as error:
            remedy = "give another folder by --audio-cache, or off"
            raise DataError(f"{folder}: decoded audio cannot be written ({error.strerror}); {remedy}") from None
        _make_room(folder, path)
    tensors, _ = map_tensors(path)
    with suppress(OSError):  # a folder that may be read only
        os.utime(path)
    rows = zip(*(tensors[column].tolist() for column in ("first", "n_samples", "rms")), tensors["scale"], strict=True)
    samples = tensors["samples"]
    return [StoredWaveform(samples[first : first + n], scale, rms) for first, n, rms, scale in rows]


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _state(path: Path) -> tuple[int, int]:
    """Size and time of change; of a file that is missing zeros, and reading it says so."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _metadata(path: Path) -> dict[str, str]:
    """Of a file that is whole; nothing of one that is missing or damaged, which is then made anew."""
    try:
        return map_tensors(path)[1]
    except (FileNotFoundError, DataError):
        return {}


def _write(path: Path, clips: Sequence[Clip], n_most: int, sources: str, on_clip: Callable[[], object]) -> None:
    """Decode clip after clip into the file; its index and header, whose size is known, are filled in at the end."""
    columns = {name: np.zeros(len(clips), dtype) for name, (_, dtype) in _COLUMNS.items()}
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    n_written = 0
    try:
        with partial.open("wb") as file:
            file.seek(8 + _HEADER_BYTES + sum(column.nbytes for column in columns.values()))
            for i, clip in enumerate(clips):
                waveform = read_audio(*clip)[:n_most]
                samples, scale = quantised(waveform)
                file.write(samples.astype("<i2", copy=False).tobytes())
                row = {"first": n_written, "n_samples": len(samples), "rms": root_mean_square(waveform), "scale": scale}
                for name, value in row.items():
                    columns[name][i] = value
                n_written += len(samples)
                on_clip()
            _write_header(file, columns, n_written, sources)
            os.fsync(file.fileno())  # otherwise a power cut leaves the new name with nothing in it
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_header(file: IO[bytes], columns: dict[str, np.ndarray], n_samples: int, sources: str) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": _FORMAT, "sources": sources}}
    place = 0
    sizes = [(n, _COLUMNS[n][0], len(column), column.nbytes) for n, column in columns.items()]
    for name, dtype, n, n_bytes in [*sizes, ("samples", "I16", n_samples, 2 * n_samples)]:
        header[name] = {"dtype": dtype, "shape": [n], "data_offsets": [place, place + n_bytes]}
        place += n_bytes
    file.seek(0)
    file.write(_HEADER_BYTES.to_bytes(8, "little") + json.dumps(header).encode().ljust(_HEADER_BYTES))
    for column in columns.values():
        file.write(column.tobytes())


def _make_room(folder: Path, kept: Path) -> None:
    """Remove what killed processes left, and the files used longest ago until `LIMIT_BYTES` are kept."""
    with suppress(OSError):  # another process may be at it too
        for partial in folder.glob(f"{_FILES}.*.partial"):
            if time.time() - partial.stat().st_mtime > _ABANDONED_S:
                partial.unlink(missing_ok=True)
        others = sorted((p for p in folder.glob(_FILES) if p != kept), key=lambda p: p.stat().st_mtime, reverse=True)
        total = kept.stat().st_size
        for path in others:
            total += path.stat().st_size
            if total > LIMIT_BYTES:
                path.unlink(missing_ok=True)
