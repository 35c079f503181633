"""What reads of a recording have in common, whether it lies in a file or in memory."""

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import soxr

from emofuse.errors import DataError
from emofuse.media.audio import SAMPLE_RATE


class Sound(Protocol):
    """A mono waveform at 16 kHz that is read in parts: an `AudioSpool` or an `ArraySound`."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        ...

    def read(self, start_s: float, end_s: float) -> np.ndarray:
        """A part: float32 (n_samples,) in [-1, 1]."""
        ...

    def blocks(self, block_s: float = 30.0) -> Iterator[np.ndarray]:
        """All of it in consecutive blocks."""
        ...


class ArraySound:
    """A waveform in memory."""

    def __init__(self, waveform: np.ndarray) -> None:
        """(n_samples,) in [-1, 1], mono at 16 kHz."""
        self._waveform = np.ascontiguousarray(waveform, np.float32)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self._waveform) / SAMPLE_RATE

    def read(self, start_s: float, end_s: float) -> np.ndarray:
        """A part; what lies beyond the end is left out."""
        return self._waveform[round(start_s * SAMPLE_RATE) : round(end_s * SAMPLE_RATE)]

    def blocks(self, block_s: float = 30.0) -> Iterator[np.ndarray]:
        """All of it in consecutive blocks."""
        size = max(1, round(block_s * SAMPLE_RATE))
        for first in range(0, len(self._waveform), size):
            yield self._waveform[first : first + size]


def as_mono(waveform: np.ndarray, sample_rate: float) -> np.ndarray:
    """float32 (n_samples,) at 16 kHz from a waveform (n_samples[, n_channels]) of any rate, floats in [-1, 1].

    Raises:
        DataError: It is no such waveform, or holds what is not finite.
    """
    need = "need floats in [-1, 1], (n_samples[, n_channels])"
    if waveform.ndim not in (1, 2) or not np.issubdtype(waveform.dtype, np.floating):
        raise DataError(f"array: {waveform.dtype} of shape {waveform.shape}; {need}")
    if waveform.ndim == 2 and waveform.shape[0] < waveform.shape[1]:
        raise DataError(f"array: of shape {waveform.shape}, channels first; {need}: give its transpose")
    if not (math.isfinite(sample_rate) and sample_rate > 0):
        raise DataError(f"array: sample_rate is {sample_rate}; need samples per second")
    mono = waveform.astype(np.float32) if waveform.ndim == 1 else waveform.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise DataError("array: holds NaN or infinite samples")
    return soxr.resample(mono, sample_rate, SAMPLE_RATE) if sample_rate != SAMPLE_RATE else mono
