"""Which moments and words a decision rests on, where a model has no attention: what it decides without them."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from emofuse.prediction import WordEvidence
from emofuse.recording import Utterance

if TYPE_CHECKING:
    from emofuse.predictor.part import Judgement

N_LEAST = 3
"""Rows that must remain when a stretch is left out."""


def rows_without(rows: np.ndarray, edges: np.ndarray) -> list[np.ndarray]:
    """All rows, and the rows without each stretch between two edges."""
    return [rows, *(np.concatenate([rows[:a], rows[b:]]) for a, b in pairwise(edges))]


def leave_out(
    rows: np.ndarray,
    n_stretches: int,
    log_probability: Callable[[list[np.ndarray]], np.ndarray],
    versions: Callable[[np.ndarray, np.ndarray], list[np.ndarray]] = rows_without,
) -> np.ndarray:
    """Share of each stretch in a decision: by how much it is less likely without the stretch.

    Leaving out (Zeiler & Fergus 2014 call it occlusion; Li et al. 2016, erasure) says what a model rests on by
    construction, which attention need not. Stretches without which the decision is as likely, or likelier, get 0.

    Args:
        rows: (n_rows, n_values) of one utterance, in time.
        n_stretches: Into how many of equal length it is divided.
        log_probability: Versions of an utterance to (n,) logarithms of the probability of what was decided.
        versions: What `log_probability` takes instead of `rows_without`, of the same arguments.

    Returns:
        (n_stretches,), sums to 1; all equal where nothing can be left out, or nothing matters.
    """
    edges = np.linspace(0, len(rows), n_stretches + 1).round().astype(int)
    if n_stretches < 2 or len(rows) - np.diff(edges).max() < N_LEAST:
        return np.full(n_stretches, 1 / n_stretches)
    return _shares(*log_probability(versions(rows, edges)))


def leave_out_words(
    pieces: np.ndarray, words: np.ndarray, log_probability: Callable[[list[np.ndarray]], np.ndarray]
) -> np.ndarray:
    """Share of each piece's word in a decision, as `leave_out` has it, divided among the word's pieces.

    Args:
        pieces: (n_pieces,) ids of one utterance.
        words: (n_pieces,) which word each is of.
        log_probability: Pieces of several utterances to (n,) logarithms of the probability of what was decided.

    Returns:
        (n_pieces,), sums to 1; all words alike where there is one word, or nothing matters.
    """
    which, of_piece, counts = np.unique(words, return_inverse=True, return_counts=True)
    if len(which) < 2:
        return np.full(len(pieces), 1 / len(pieces))
    shares = _shares(*log_probability([pieces, *(pieces[words != word] for word in which)]))
    return (shares / counts)[of_piece]


def _shares(whole: float, *without: float) -> np.ndarray:
    """By how much each is less likely than the whole, as shares of 1; all alike where none is."""
    loss = np.maximum(whole - np.array(without), 0)
    return loss / loss.sum() if loss.sum() > 0 else np.full(len(loss), 1 / len(loss))


def word_evidence(u: Utterance, judged: "Sequence[Judgement]") -> tuple[WordEvidence, ...]:
    """Attention on each word, the mean over the parts that read words; where none does, the words' times alone."""
    shares = [j.words for j in judged if j.words is not None]
    if not shares and not u.timed_words:
        return ()
    shares = shares or [np.zeros(len(u.words))]
    times = [(w.start_s, w.end_s) for w in u.timed_words] or [(None, None)] * len(u.words)
    return tuple(
        WordEvidence(word, start, end, round(float(share), 4))
        for word, (start, end), share in zip(u.words, times, np.mean(shares, axis=0), strict=True)
    )
