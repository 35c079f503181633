"""A media file to 16 kHz mono as most people would write it: soundfile, the mean of the channels, scipy's resampler."""

from math import gcd
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

SAMPLE_RATE = 16_000
WINDOW_S = 10


def read_16k(path: str | Path) -> np.ndarray:
    """All of a file as float32 (n_samples,) at 16 kHz."""
    samples, rate = soundfile.read(path, dtype="float32")
    mono = samples.mean(axis=1) if samples.ndim == 2 else samples
    common = gcd(SAMPLE_RATE, rate)
    return np.asarray(resample_poly(mono, SAMPLE_RATE // common, rate // common), dtype=np.float32)


def windows(waveform: np.ndarray) -> list[np.ndarray]:
    """Pieces of 10 s; what is left at the end is a piece if it is at least a second."""
    size = WINDOW_S * SAMPLE_RATE
    pieces = [waveform[i : i + size] for i in range(0, len(waveform), size)]
    return [p for p in pieces if len(p) >= SAMPLE_RATE] or pieces[:1]
