"""How a speaker sounds beside how that speaker has sounded so far: normalisation that needs no future and no labels."""

from collections.abc import Sequence

import numpy as np

PRIOR = 2.0
"""Utterances that the mean of the training data counts for against a speaker's own."""


Heard = dict[str, tuple[np.ndarray, int]]
"""Speaker to the sum of what has been heard of them, and how many utterances that were."""


def running_deviation(X: np.ndarray, speakers: Sequence[str | None], heard: Heard | None = None) -> np.ndarray:
    """Deviation from the running mean of a speaker's utterances of one dialogue, this one included.

    The mean starts at 0, the training mean of standardised features, and moves to the speaker's own
    with what is heard: ``x_t - sum(x_1 .. x_t) / (t + PRIOR)``. Nothing is fitted and nothing is
    known of a speaker beforehand, so it is the same for one who was in the training data and one who
    was not. Of an unknown speaker (None) every utterance is the first.

    Args:
        X: ``(n_utterances, dim)``, standardised, in order of time.
        speakers: Who says each.
        heard: Of the dialogue before `X`, where that is only its end; what is heard in `X` is added.

    Returns:
        ``(n_utterances, dim)``, of the type of `X`.
    """
    result = np.empty_like(X)
    heard = {} if heard is None else heard
    for i, (x, speaker) in enumerate(zip(X, speakers, strict=True)):
        total, n = heard.get(speaker, (np.zeros_like(x), 0)) if speaker is not None else (np.zeros_like(x), 0)
        total, n = total + x, n + 1
        if speaker is not None:
            heard[speaker] = total, n
        result[i] = x - total / (n + PRIOR)
    return result
