"""What a network gives of examples, and how good that is."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from emofuse.batching import Example, evaluation_batches, labels_by_id
from emofuse.models.inference import for_inference
from emofuse.protocol.distributed import gathered, world
from emofuse.protocol.metrics import compute_metrics


def predict_probabilities(
    model: nn.Module,
    examples: Sequence[Example],
    level: str,
    device: torch.device,
    batch_size: int = 32,
    temperature: float = 1.0,
) -> dict[str, np.ndarray]:
    """Class probabilities (n_classes,) of every utterance of `examples`, by id."""
    model = for_inference(model.eval(), "float32")
    result: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        for batch in evaluation_batches(examples, level, batch_size):
            logits = model(**batch.to(device).inputs).float()
            probabilities = (logits / temperature).softmax(-1).cpu().numpy()
            for ids, rows in zip(batch.ids, probabilities, strict=True):
                result.update(zip(ids, np.atleast_2d(rows), strict=False))
    return result


def score(model: nn.Module, examples: Sequence[Example], level: str, device: torch.device) -> dict[str, float]:
    """Metrics over the labelled utterances of `examples`."""
    probabilities = gathered(predict_probabilities(model, world().mine(examples), level, device))
    labels = labels_by_id(examples)
    return compute_metrics(np.array(list(labels.values())), np.stack([probabilities[i] for i in labels]))
