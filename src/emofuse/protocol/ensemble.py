"""The seeds of a system as one: probabilities averaged over them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from emofuse.protocol.record import RunResult


def average_seeds(runs: Sequence[RunResult]) -> list[RunResult]:
    """One run a fold: the mean of the probabilities that a system gave under each seed.

    The seeds share the test part and not the dev part, so that nothing was tested that trained or selected.
    """
    averaged = []
    for fold in dict.fromkeys(r.fold for r in runs):
        members = [r for r in runs if r.fold == fold]
        first = members[0]
        found = [dict(zip(r.ids, r.y_prob, strict=True)) for r in members]
        averaged.append(
            replace(
                first,
                n_parameters=sum(r.n_parameters for r in members),
                seconds=sum(r.seconds for r in members),
                y_prob=np.stack([np.mean([p[i] for p in found], axis=0) for i in first.ids]),
            )
        )
    return averaged
