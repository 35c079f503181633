"""Training in several processes that ends as it would in one: each step's batch is divided among them.

`torchrun` starts the processes. Every one of them draws the same batches from the same seed, takes its rows of each,
and averages its gradients with the others' (`DistributedDataParallel`), weighted so that their mean is the gradient of
the whole batch's mean loss; batch normalisation takes its statistics over all rows. Dropout alone draws otherwise.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from emofuse.batching import IGNORE, Batch
from emofuse.errors import ConfigError, DataError
from emofuse.models.layers import GlobalBatchNorm2d

Item = TypeVar("Item")

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: the first one may have to extract features. That one has died is told by
`torchrun` at once, which ends the others."""


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Attributes:
        rank: Number of this one, from 0.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that prints and writes files."""
        return self.rank == 0

    def mine(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every `size`-th item: those of all processes are all items, each once."""
        return items[self.rank :: self.size]


def world() -> World:
    """The processes that train together now; one where there are no others."""
    if distributed.is_available() and distributed.is_initialized():
        return World(distributed.get_rank(), distributed.get_world_size())
    return World()


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the processes that `torchrun` has started; nothing where it has not.

    Args:
        device: As `choose_device` takes it; ``auto`` and ``cuda`` are a GPU a process where there are as many.

    Yields:
        The device of this process.

    Raises:
        ConfigError: There are fewer GPUs than processes, or one is named for all of them.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield device
        return
    n_here, local_rank = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
    n_gpus = torch.cuda.device_count()
    if device == "auto":
        device = "cuda" if n_gpus >= n_here else "cpu"
    elif device not in ("cpu", "cuda"):
        raise ConfigError(f"--device {device} is one for {n_here} processes: give cuda, cpu or nothing")
    if device == "cuda":
        if n_gpus < n_here:
            raise ConfigError(f"{n_here} processes, {n_gpus} GPUs: start one a GPU (--nproc-per-node), or --device cpu")
        device = f"cuda:{local_rank}"
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)
    try:
        yield device
    finally:
        distributed.destroy_process_group()


@contextmanager
def first_alone() -> Iterator[None]:
    """What the first process does inside is done before the others begin."""
    here = world()
    if here.size > 1 and not here.is_first:
        distributed.barrier()
    yield
    if here.size > 1 and here.is_first:
        distributed.barrier()


def parallel(model: nn.Module, batch_size: int, some_missing: bool) -> nn.Module:
    """The model whose gradients are averaged over the processes; the model itself where there is one.

    Args:
        model: On its device; the first process' weights are given to all.
        batch_size: Examples a step, of all processes together.
        some_missing: Whether a step may lack a modality, so that some parameters get no gradient.

    Raises:
        ConfigError: There are more processes than examples a step.
    """
    here = world()
    if here.size == 1:
        return model
    if batch_size < here.size:
        raise ConfigError(f"training.batch_size is {batch_size} for {here.size} processes, need one example each")
    return DistributedDataParallel(model, find_unused_parameters=some_missing)


def divide(batch: Batch, model: nn.Module, weight: Tensor | None, votes: bool) -> tuple[Batch, float]:
    """This process' rows of a batch, and the factor of their mean loss; the batch and 1 where there is one process.

    With the factor, the mean over the processes of their losses is the mean loss of the whole batch. Where a process
    would get no labelled utterance, or lack a modality that others have, each takes the whole batch: an encoder that
    one process leaves out would be waited for in vain by the others.

    Args:
        batch: The same in every process.
        model: In training; its batch normalisation is told whether the batch is divided.
        weight: Of the classes in the loss, (n_classes,).
        votes: Whether the loss is of the annotators' votes, of which it is the mean over rows.
    """
    here = world()
    if here.size == 1:
        return batch, 1.0
    parts = [_rows(batch, World(rank, here.size)) for rank in range(here.size)]
    weights = [_loss_weight(part, weight, votes) for part in parts]
    divided = min(weights) > 0 and len({_modalities(part) for part in parts}) == 1
    norm_over_ranks(model, divided)
    if not divided:
        return batch, 1.0
    return parts[here.rank], here.size * weights[here.rank] / sum(weights)


def norm_over_ranks(model: nn.Module, divided: bool) -> None:
    """Whether batch normalisation takes its statistics over all processes: while batches are divided among them."""
    for module in model.modules():
        if isinstance(module, GlobalBatchNorm2d):
            module.over_ranks = divided


def _rows(batch: Batch, here: World) -> Batch:
    rows = slice(here.rank, None, here.size)
    inputs = {name: value[rows] for name, value in batch.inputs.items()}
    votes = None if batch.votes is None else batch.votes[rows]
    return replace(batch, inputs=inputs, labels=batch.labels[rows], ids=batch.ids[rows], votes=votes)


def _loss_weight(batch: Batch, weight: Tensor | None, votes: bool) -> float:
    """What the mean loss of a batch is divided by."""
    labels = batch.labels[batch.labels != IGNORE]
    if votes:
        return float(len(batch.labels))
    return float(len(labels) if weight is None else weight[labels.to(weight.device)].sum())


def _modalities(batch: Batch) -> tuple[bool, ...]:
    return tuple(bool(value.any()) for name, value in batch.inputs.items() if name.endswith("_lengths"))


def mean_over_ranks(value: float, device: torch.device) -> float:
    """The mean of a number over the processes."""
    here = world()
    if here.size == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return float(total) / here.size


def gathered(found: dict[str, Any]) -> dict[str, Any]:
    """What the processes have found together."""
    here = world()
    if here.size == 1:
        return found
    parts: list[Any] = [None] * here.size
    distributed.all_gather_object(parts, found)
    return {key: value for part in parts for key, value in part.items()}


def refuse_different(value: object, message: str) -> None:
    """Refuse processes that do not start from the same.

    Raises:
        DataError: `value` differs between them; with `message`.
    """
    here = world()
    values: list[Any] = [value] * here.size
    if here.size > 1:
        distributed.all_gather_object(values, value)
    if any(other != value for other in values):
        raise DataError(message)
