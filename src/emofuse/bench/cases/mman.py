"""MMAN in training: every network of it."""

from collections.abc import Callable
from functools import partial
from math import ceil
from types import ModuleType
from typing import Any

import numpy as np
import torch

from emofuse.batching import IGNORE, Example
from emofuse.bench.setup import Setup, Sizes
from emofuse.bench.timing import Contender, optional
from emofuse.bench.work import Work, mman_parts, training
from emofuse.models import build, make_config, n_parameters
from emofuse.models.mman import MMAN, MMANConfig
from emofuse.protocol.settings import TrainingConfig
from emofuse.protocol.train import train_epoch

N_CLASSES = 4


def mman_train(setup: Setup) -> dict[str, Any]:
    """An epoch of each of MMAN's networks, one after the other, on dialogues of 20 to 60 utterances."""
    config, sizes = make_config("mman"), setup.sizes
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 61, sizes.n_dialogues)
    examples = [_dialogue(i, int(n), config.feature_dims, rng) for i, n in enumerate(lengths)]
    n_utterances = int(lengths.sum())
    train = _mman_trainer(config, examples, sizes.dialogue_batch)
    lstms = setup.references.use("bclstm", partial(_bclstm, examples=examples, batch_size=sizes.dialogue_batch))
    mult = setup.references.use("mmsa_mult", _mmsa_mult)
    reference = optional("bc-LSTM", lstms, n_utterances)
    beside = [mult and Contender("MMSA's MulT, word by word", *mult)]
    ours = Contender("emofuse", train, n_utterances)
    return setup.measure("utterances/s", ours, reference, beside, _mman_work(config, lengths.tolist(), sizes))


def _dialogue(index: int, n: int, dims: dict[str, int], rng: np.random.Generator) -> Example:
    features = {m: rng.standard_normal((n, dim)).astype(np.float32) for m, dim in dims.items()}
    return Example(tuple(f"d{index}u{i}" for i in range(n)), rng.integers(N_CLASSES, size=n), features)


def _mman_trainer(config: MMANConfig, examples: list[Example], batch_size: int) -> Callable[[], None]:
    """An epoch of every part, then of what fuses the frozen parts."""
    torch.manual_seed(0)
    model = build("mman", config)
    assert isinstance(model, MMAN)
    parts = list(model.parts.values())
    optimisers = [torch.optim.AdamW(p.parameters(), lr=1e-3, fused=True) for p in parts]
    last = torch.optim.AdamW(model.output.parameters(), lr=1e-3, fused=True)
    settings, seed = TrainingConfig(batch_size=batch_size), iter(range(10**9))

    def run() -> None:
        model.parts.requires_grad_(True)
        for part, optimiser in zip(parts, optimisers, strict=True):
            train_epoch(part, optimiser, examples, "conversation", settings, None, next(seed), 0.0)
        model.freeze_parts()
        train_epoch(model, last, examples, "conversation", settings, None, next(seed), 0.0)

    return run


def _mman_work(config: MMANConfig, lengths: list[int], sizes: Sizes) -> Work:
    """Every part trained, and run once more for their fusion."""
    counts = [mman_parts(config, n) for n in lengths]
    n_values = sum(lengths) * (sum(config.feature_dims.values()) + N_CLASSES)
    n_steps = ceil(len(lengths) / sizes.dialogue_batch)
    trained = training(counts, n_values, n_parameters(build("mman", config)), n_steps)
    return Work(trained.flops + sum(f.all for f in counts), trained.bytes)


def _bclstm(module: ModuleType, examples: list[Example], batch_size: int) -> Callable[[], float]:
    dims = {m: x.shape[1] for m, x in examples[0].inputs.items()}
    network = module.BcLSTM(dims, N_CLASSES)
    features = {m: module.pad([torch.from_numpy(e.inputs[m]) for e in examples]) for m in dims}
    labels = module.pad([torch.from_numpy(e.labels) for e in examples], IGNORE)
    return lambda: network.train_epoch(features, labels, batch_size)


def _mmsa_mult(module: ModuleType) -> tuple[Callable[[], float], int]:
    """A step, and its number of utterances."""
    model, optimiser = module.make(N_CLASSES)
    inputs, labels = module.batch()
    return lambda: module.train_step(model, optimiser, inputs, labels), len(labels)
