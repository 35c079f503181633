"""Where the windows of a long utterance lie, and what of a decision on them rests on which moment."""

import math
from collections.abc import Sequence

import numpy as np

from emofuse.media.audio import SAMPLE_RATE
from emofuse.media.segment import Segment
from emofuse.prediction import Moment

WINDOW_S = 10.0
"""Longest stretch of speech that a model sees at once, as in Krishna & Patil 2020."""

OVERLAP_S = 2.0
"""Neighbouring windows of a longer utterance share at least so much."""

MOMENT_S = 0.25
"""Resolution in which it is told what a decision rests on."""


def window_starts(n_samples: int, window: int, overlap: int) -> list[int]:
    """Where windows of `window` samples start: evenly spread, sharing at least `overlap`, the last one at the end."""
    if n_samples <= window:
        return [0]
    n_windows = math.ceil((n_samples - window) / (window - overlap)) + 1
    return [round(i * (n_samples - window) / (n_windows - 1)) for i in range(n_windows)]


def moments_of(weights: np.ndarray, start_s: float, n_samples: int) -> tuple[Moment, ...]:
    """Weights (n_frames,) of the frames of one window as stretches of about `MOMENT_S`."""
    seconds = n_samples / SAMPLE_RATE
    edges = np.linspace(0, len(weights), max(1, round(seconds / MOMENT_S)) + 1).round().astype(int)
    edges = np.unique(edges)
    at = start_s + edges / len(weights) * seconds
    return tuple(
        Moment(float(at[i]), float(at[i + 1]), float(weights[edges[i] : edges[i + 1]].sum()))
        for i in range(len(edges) - 1)
    )


def merge_moments(moments: Sequence[Moment], segment: Segment) -> tuple[Moment, ...]:
    """Moments of overlapping windows on one grid of about `MOMENT_S` over the utterance; weights sum to 1."""
    if not moments:
        return ()
    length = segment.end_s - segment.start_s
    edges = segment.start_s + np.linspace(0, length, max(1, round(length / MOMENT_S)) + 1)
    density = np.zeros(len(edges) - 1)
    covered = np.zeros(len(edges) - 1)
    for m in moments:
        inside = np.clip(np.minimum(edges[1:], m.end_s) - np.maximum(edges[:-1], m.start_s), 0, None)
        density += inside * m.weight / (m.end_s - m.start_s)
        covered += inside
    density /= np.maximum(covered, 1e-9)  # what two windows cover counts once
    total = max(density.sum(), 1e-12)
    return tuple(
        Moment(round(float(a), 3), round(float(b), 3), round(float(w / total), 4))
        for a, b, w in zip(edges[:-1], edges[1:], density, strict=True)
    )
