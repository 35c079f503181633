"""What the parts say of one utterance, taken together."""

from collections.abc import Sequence

import numpy as np

from emofuse.predictor.part import Judgement
from emofuse.protocol.pool import Reliability, discounted, pool


def fuse(judged: Sequence[Judgement], reliabilities: Sequence[Reliability]) -> tuple[np.ndarray, dict[str, float]]:
    """The pooled probabilities (n_classes,), and how far each modality that was used has moved them.

    Args:
        judged: What each part says.
        reliabilities: How far each of them is believed.
    """
    probabilities = pool([j.probabilities for j in judged], reliabilities)
    # A part pushes the product as far as the logarithms of its factor differ from indifference.
    logs = [
        np.log(np.maximum(discounted(j.probabilities, r), 1e-12)) for j, r in zip(judged, reliabilities, strict=True)
    ]
    push = np.array([np.linalg.norm(log - log.mean()) for log in logs])
    push = push / push.sum() if push.sum() > 0 else np.full(len(judged), 1 / len(judged))
    weights = {m: 0.0 for j in judged for m in j.modalities}
    for j, share in zip(judged, push, strict=True):
        for modality, within in j.weights.items():
            weights[modality] += float(share) * within
    return probabilities, weights
