"""The one training loop. It trains utterance- and conversation-level systems alike, and resumes after a kill."""

import itertools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emofuse.batching import IGNORE, Example, stable_seed, training_batches
from emofuse.errors import ConfigError, DataError
from emofuse.protocol.batch_norm import recalibrate
from emofuse.protocol.compiling import compiled
from emofuse.protocol.distributed import (
    divide,
    mean_over_ranks,
    norm_over_ranks,
    parallel,
    refuse_different,
    world,
)
from emofuse.protocol.scoring import score
from emofuse.protocol.settings import TrainingConfig
from emofuse.protocol.state import FitResult, load_state, save_state

Vary = Callable[[Example, np.random.Generator], Example]

SAVE_EVERY_S = 2.0
"""Training state is written after an epoch, but not more often than this."""


def class_weights(examples: Sequence[Example], n_classes: int, power: float = 1.0) -> Tensor:
    """Inverse class frequency in train to a power, scaled so that a balanced set has weight 1 everywhere.

    A class that train lacks has weight 0: label smoothing would else pull towards it more than towards any other.
    """
    labels = np.concatenate([e.labels for e in examples])
    counts = np.bincount(labels[labels != IGNORE], minlength=n_classes)
    weights = (counts.sum() / (n_classes * np.maximum(counts, 1))) ** power
    return torch.tensor(np.where(counts > 0, weights, 0), dtype=torch.float32)


def train_epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    examples: Sequence[Example],
    level: str,
    config: TrainingConfig,
    weight: Tensor | None,
    seed: int,
    sample_rate: float,
    vary: Vary | None = None,
) -> float:
    """One pass over the training examples; returns the mean loss a labelled utterance."""
    device = next(model.parameters()).device
    crop_steps = round(config.crop_s * sample_rate) or None
    model.train()
    total, n_labels = torch.zeros((), dtype=torch.float64, device=device), 0  # a GPU is waited for once an epoch
    settings = (crop_steps, config.jitter_faces, config.mask_bands, vary, config.modality_dropout)
    for batch in training_batches(examples, level, config.batch_size, seed, *settings):
        n_valid = len(batch.labels) if config.soft_votes else int((batch.labels != IGNORE).sum())
        if n_valid == 0:
            continue
        batch, factor = divide(batch, model, weight, config.soft_votes)
        batch = batch.to(device)
        labels = batch.labels.flatten()
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = model(**batch.inputs).flatten(0, -2)
        logits = logits.float()
        if config.soft_votes:
            if batch.votes is None:
                raise ConfigError("training.soft_votes: some utterance of the corpus has no votes")
            loss = F.cross_entropy(logits, batch.votes, weight, label_smoothing=config.label_smoothing)
        else:
            loss = F.cross_entropy(logits, labels, weight, ignore_index=IGNORE, label_smoothing=config.label_smoothing)
        loss = loss * factor
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip_norm:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimiser.step()
        total += loss.detach().double() * n_valid
        n_labels += n_valid
    norm_over_ranks(model, False)
    return mean_over_ranks(float(total), device) / max(n_labels, 1)


def fit(
    model: nn.Module,
    train: Sequence[Example],
    select: Sequence[Example] | None,
    *,
    level: str,
    n_classes: int,
    config: TrainingConfig,
    metric: str,
    seed: int,
    sample_rate: float = 16_000,
    vary: Vary | None = None,
    state: Path | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> FitResult:
    """Train, keep the epoch that scores best on `select`, stop when it no longer improves.

    Every epoch draws from a seed made of `seed` and its number, so that a run that was killed and
    resumed from `state` ends with the weights of an uninterrupted one.

    Args:
        model: Trained in place, on the device it is on; frozen parameters are left alone.
        train: Training examples.
        select: Examples that choose the epoch: dev, or test where the result says so. None: train for
            `config.max_epochs` and keep the last.
        level: ``utterance`` or ``conversation``.
        n_classes: Size of the model's last dimension.
        config: Settings.
        metric: Key of `compute_metrics` that selects.
        seed: Of order, crops and dropout.
        sample_rate: Steps a second of the speech input, for `crop_s`.
        vary: As `training_batches` takes it.
        state: File stem for the resumable state; None: not resumable. Removed by the caller.
        on_epoch: Called with each history entry.
    """
    if not train or (select is not None and not select):
        raise DataError(f"{len(train)} training and {len(select or ())} selection examples, need at least one of each")
    device = next(model.parameters()).device
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(
        trainable.values(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    weight = class_weights(train, n_classes, config.weight_power).to(device) if config.class_weights else None
    n_steps = math.ceil(len(train) / config.batch_size)
    steps = itertools.count()

    def set_rate(*_: object) -> None:
        optimiser.param_groups[0]["lr"] = config.rate(next(steps), config.max_epochs * n_steps)

    if config.decay == "linear":
        optimiser.register_step_pre_hook(set_rate)
    best: dict[str, Tensor] = {}
    result = FitResult(0)
    best_score = -1.0
    window = min(config.average_epochs, config.max_epochs)
    if state is not None and state.with_suffix(".json").exists():
        best, best_score, result = load_state(state, model, trainable, optimiser)
        for entry in result.history:
            if on_epoch is not None:
                on_epoch(entry)
    refuse_different(len(result.history), f"{state}: not every process finds it; --out must be a folder that all see")
    some_missing = config.modality_dropout > 0 or any(e.present is not None for e in train)
    training = compiled(parallel(model, config.batch_size, some_missing), config.compile, device)
    saved_at = time.monotonic()
    for epoch in range(len(result.history) + 1, config.max_epochs + 1):
        if select is not None and config.patience and result.best_epoch and epoch - result.best_epoch > config.patience:
            break
        torch.manual_seed(stable_seed(seed, "dropout", epoch) + world().rank)
        steps = itertools.count((epoch - 1) * n_steps)
        if config.decay == "cosine":
            set_rate()
        loss = train_epoch(
            training, optimiser, train, level, config, weight, stable_seed(seed, "order", epoch), sample_rate, vary
        )
        entry = {"epoch": epoch, "loss": loss}
        result.history.append(entry)
        if select is not None or epoch == config.max_epochs:  # whenever it is going to be used
            recalibrate(model, train, level, config.batch_size, stable_seed(seed, "batch norm", epoch))
        if select is None:
            result.best_epoch = epoch
        else:
            entry |= score(model, select, level, device)
            recent = [e[metric] for e in result.history[-window:]]
            # A mean of fewer epochs is less steady, so that the first epochs would win by luck.
            if len(recent) == window and sum(recent) / window > best_score:
                best_score, result.best_epoch = sum(recent) / len(recent), epoch
                best = {k: v.detach().clone() for k, v in model.state_dict().items()}
        if on_epoch is not None:
            on_epoch(entry)
        if state is not None and world().is_first and time.monotonic() - saved_at > SAVE_EVERY_S:
            save_state(state, model, trainable, optimiser, best, best_score, result)
            saved_at = time.monotonic()
    if select is not None:
        model.load_state_dict(best)
    return result
