"""What training leaves behind after an epoch, on disk too, so that a run that was killed goes on where it was."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


@dataclass
class FitResult:
    """What training leaves behind: the model holds the weights of `best_epoch`."""

    best_epoch: int
    history: list[dict[str, float]] = field(default_factory=list)
    """One entry an epoch: epoch, loss, and the metrics on the selection data."""


def save_state(
    state: Path,
    model: nn.Module,
    trainable: dict[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    best: dict[str, Tensor],
    best_score: float,
    result: FitResult,
) -> None:
    """Weights, best weights and Adam's moments as safetensors, the rest as JSON; renamed into place in pairs."""
    tensors = {f"now/{k}": v for k, v in model.state_dict().items()} | {f"best/{k}": v for k, v in best.items()}
    for name, parameter in trainable.items():
        tensors |= {f"adam/{key}/{name}": torch.as_tensor(v) for key, v in optimiser.state[parameter].items()}
    state.parent.mkdir(parents=True, exist_ok=True)
    # The JSON names the tensor file, so that a kill between the two renames leaves a matching pair.
    tensor_file = state.with_name(f"{state.name}-{len(result.history)}.safetensors")
    partial = tensor_file.with_suffix(".partial")
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, partial)
    partial.replace(tensor_file)
    meta = {"tensors": tensor_file.name, "score": best_score, "best": result.best_epoch, "history": result.history}
    partial.write_text(json.dumps(meta))
    partial.replace(state.with_suffix(".json"))
    for old in state.parent.glob(f"{state.name}-[0-9]*.safetensors"):
        if old != tensor_file:
            old.unlink()


def load_state(
    state: Path, model: nn.Module, trainable: dict[str, nn.Parameter], optimiser: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], float, FitResult]:
    """Inverse of `save_state`; the model and the optimiser are set in place."""
    device = next(model.parameters()).device
    meta = json.loads(state.with_suffix(".json").read_text())
    tensors = load_file(state.with_name(meta["tensors"]), device=str(device))
    groups: dict[str, dict[str, Tensor]] = {"now": {}, "best": {}, "adam": {}}
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        groups[group][name] = tensor
    model.load_state_dict(groups["now"])
    for name, parameter in trainable.items():
        if f"step/{name}" in groups["adam"]:  # not where modality dropout has kept every gradient from it so far
            optimiser.state[parameter] = {k: groups["adam"][f"{k}/{name}"] for k in ("step", "exp_avg", "exp_avg_sq")}
    return groups["best"], meta["score"], FitResult(meta["best"], meta["history"])
