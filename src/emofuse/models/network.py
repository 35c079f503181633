"""A network of torch as a predictor sees it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emofuse.graph import GraphNetwork
from emofuse.models import goes_on, system
from emofuse.models.cma import CMA
from emofuse.models.mman import MMAN, MultiModalFusion
from emofuse.network import Inputs, Memory, Outcome


class TorchNetwork:
    """A `Network` that torch runs.

    Args:
        name: Of the system.
        config: Its sizes.
        model: In evaluation mode.
    """

    def __init__(self, name: str, config: Any, model: nn.Module) -> None:
        """Nothing is copied."""
        self.model, self.level = model, system(name).level
        self.turns = getattr(config, "turns", False)
        self.goes_on = self.level == "conversation" and goes_on(name, config)

    def __call__(self, inputs: Inputs, memory: Memory | None = None) -> Outcome:
        """See `Network`."""
        given, more = tensors(inputs), {} if memory is None else {"memory": memory}
        with torch.inference_mode():
            if isinstance(self.model, CMA):
                logits, received = self.model.explained(**given)
                return Outcome(logits.numpy(), arrays(received))
            logits = self.model(**given, **more)
            received, shares = explanations(self.model, given)
        return Outcome(logits.numpy(), arrays(received), arrays(shares))

    def logits(self, inputs: Inputs) -> np.ndarray:
        """See `Network`."""
        with torch.inference_mode():
            return self.model(**tensors(inputs)).numpy()


class GraphModule(nn.Module):
    """A graph as a module, for what asks modules for logits: it has no parameters and does not train."""

    def __init__(self, network: GraphNetwork) -> None:
        """Runs `network`."""
        super().__init__()
        self.network = network

    def forward(self, **inputs: Tensor) -> Tensor:
        """As the exported model's."""
        logits = self.network.logits(arrays(inputs))
        return torch.from_numpy(logits).to(next(iter(inputs.values())).device)


def explanations(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """`Outcome.received` and `Outcome.shares` of a model."""
    if isinstance(model, CMA):
        return model.attention_received(**inputs), {}
    fusion = model.parts["clstm-mma"] if isinstance(model, MMAN) else model
    if isinstance(fusion, MultiModalFusion):
        return {}, fusion.modality_weights(**{m: x for m, x in inputs.items() if m != "lengths"})
    return {}, {}


def tensors(inputs: Inputs) -> dict[str, Tensor]:
    """Arrays as tensors."""
    return {name: torch.from_numpy(array) for name, array in inputs.items()}


def arrays(outputs: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Tensors as arrays."""
    return {name: tensor.cpu().numpy() for name, tensor in outputs.items()}
