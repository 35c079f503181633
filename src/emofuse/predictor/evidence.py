"""Which moments a decision rests on, where a model has no attention: what it decides with a moment left out."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

N_LEAST = 3
"""Rows that must remain when a stretch is left out."""


def leave_out(
    rows: np.ndarray, n_stretches: int, log_probability: Callable[[list[np.ndarray]], np.ndarray]
) -> np.ndarray:
    """Share of each stretch in a decision: by how much it is less likely without the stretch.

    Leaving out (Zeiler & Fergus 2014 call it occlusion; Li et al. 2016, erasure) says what a model rests on by
    construction, which attention need not. Stretches without which the decision is as likely, or likelier, get 0.

    Args:
        rows: (n_rows, n_values) of one utterance, in time.
        n_stretches: Into how many of equal length it is divided.
        log_probability: Rows of several utterances to (n,) logarithms of the probability of what was decided.

    Returns:
        (n_stretches,), sums to 1; all equal where nothing can be left out, or nothing matters.
    """
    edges = np.linspace(0, len(rows), n_stretches + 1).round().astype(int)
    kept = [np.concatenate([rows[:a], rows[b:]]) for a, b in pairwise(edges)]
    if n_stretches < 2 or min(map(len, kept)) < N_LEAST:
        return np.full(n_stretches, 1 / n_stretches)
    whole, *without = log_probability([rows, *kept])
    loss = np.maximum(whole - np.array(without), 0)
    return loss / loss.sum() if loss.sum() > 0 else np.full(n_stretches, 1 / n_stretches)
