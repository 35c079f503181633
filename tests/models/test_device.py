"""Training that does not wait for a GPU, on a device that has no values to wait for: torch's ``meta``."""

import numpy as np
import pytest
import torch

from emofuse.batching import Batch, Example, collate
from emofuse.models import MODELS, build, make_config

DIMS = {"speech": 3, "visual": 2, "text": 4}
CMA = {"n_classes": 3, "word_dim": 4, "d_model": 8, "n_heads": 2, "filters": (4, 5, 6)}
CONVERSATION = {"n_classes": 3, "feature_dims": DIMS}
SIZES = {
    "cma": CMA,
    "cma-speech": CMA,
    "cma-text": CMA,
    "clstm-mma": CONVERSATION,
    "mman": CONVERSATION,
    "bc-lstm": CONVERSATION,
    "alignment": CONVERSATION,
    "mult": CONVERSATION,
    "tensor-fusion": CONVERSATION,
    "text-cnn": {"n_classes": 3, "word_dim": 4},
}


def batch_of(name: str) -> Batch:
    """Padded, and with utterances that lack something where the system fuses."""
    rng = np.random.default_rng(0)
    examples = []
    for i in range(3):
        if MODELS[name].level == "conversation":
            n = 2 + i
            inputs = {m: rng.normal(size=(n, dim)).astype(np.float32) for m, dim in DIMS.items()}
            present = {m: rng.random(n) > 0.3 for m in DIMS}
            labels = rng.integers(0, 3, n)
        else:
            arrays = {"speech": rng.normal(size=2000 + 300 * i), "text": rng.normal(size=(2 + i, 4))}
            inputs = {m: arrays[m].astype(np.float32) for m in MODELS[name].modalities}
            present = {m: np.array([True]) for m in inputs}
            if name == "cma" and i == 1:
                inputs["speech"], present["speech"] = inputs["speech"][:0], np.array([False])
            labels = np.array([i])
        examples.append(Example(tuple(f"{i}-{k}" for k in range(len(labels))), labels, inputs, present=present))
    return collate(examples, MODELS[name].level)


@pytest.mark.parametrize("name", SIZES)
def test_a_step_asks_the_device_for_no_value(name: str) -> None:
    device = torch.device("meta")  # where asking for a value, or meeting a tensor of another device, is an error
    with torch.device(device):
        model = build(name, make_config(name, **SIZES[name])).train()
    batch = batch_of(name).to(device)
    assert all(v.device.type == ("cpu" if k.endswith("lengths") else "meta") for k, v in batch.inputs.items())
    logits = model(**batch.inputs)
    assert logits.device == device
    logits.sum().backward()
