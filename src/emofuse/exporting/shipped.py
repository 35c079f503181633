"""The graphs that ship beside weights, which they name only."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from emofuse.checkpoint import Checkpoint, load_checkpoint
from emofuse.exporting.tracing import Call, export_network, trace, without_weights
from emofuse.features.whisper_lower import GRAPH as WHISPER_GRAPH
from emofuse.features.whisper_lower import WEIGHTS
from emofuse.graph import GRAPH
from emofuse.models.whisper_lower import N_MELS, WhisperLower
from emofuse.quantised import unpack


def shipped_graphs(model: Path) -> dict[Path, bytes]:
    """File to content: the layers of Whisper, and each part of the model in a folder."""
    found = {WHISPER_GRAPH: whisper_lower_graph(unpack(load_file(WEIGHTS)))}
    for config in sorted(model.glob("*/config.json")):
        found[config.parent / GRAPH] = graph_beside(load_checkpoint(config.parent))
    return found


def graph_beside(checkpoint: Checkpoint) -> bytes:
    """The graph of a checkpoint that lies in the same folder as its weights, and names them only.

    Raises:
        ConfigError: See `export_network`.
    """
    graph = export_network(checkpoint, fold=False)
    parameters = {f"model.{name}" for name, x in checkpoint.model.state_dict().items() if x.is_floating_point()}
    return without_weights(graph, parameters)


def whisper_lower_graph(weights: Mapping[str, np.ndarray]) -> bytes:
    """The graph that `emofuse.features.whisper_lower` runs, without the weights, by whose names it names them."""
    model = WhisperLower()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    call = Call(model.eval(), ["log_mel", "n_rows"], [], "rows")
    given = torch.randn(3, 40, N_MELS), torch.tensor([20, 15, 7])
    axes = {"log_mel": {0: "batch", 1: "frames"}, "n_rows": {0: "batch"}}
    graph = trace(call, given, list(axes), axes.__getitem__, {}, fold=False)
    return without_weights(graph, {f"model.{name}" for name in weights})
