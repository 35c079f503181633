"""What reads of a recording have in common, whether it lies in a file or in memory."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

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
