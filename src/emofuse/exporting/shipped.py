"""The graphs that ship beside weights, which they name only."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from safetensors.numpy import load_file

from emofuse.checkpoint import Checkpoint, load_checkpoint
from emofuse.exporting.folder import quantise
from emofuse.exporting.tracing import OPSET, Call, export_network, load_onnx, shared, trace, without_weights
from emofuse.features.whisper_lower import GRAPH as WHISPER_GRAPH
from emofuse.features.whisper_lower import INTEGER_GRAPH, WEIGHTS, integer_weights
from emofuse.graph import GRAPH, PRODUCT
from emofuse.models.whisper_lower import N_MELS, WhisperLower
from emofuse.quantised import SCALE, unpack


def shipped_graphs(model: Path) -> dict[Path, bytes]:
    """File to content: the layers of Whisper, a product of integers, and each part of the model in a folder."""
    packed = load_file(WEIGHTS)
    found = {WHISPER_GRAPH: whisper_lower_graph(packed), INTEGER_GRAPH: integer_graph(packed), PRODUCT: product()}
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


def whisper_lower_graph(packed: Mapping[str, np.ndarray]) -> bytes:
    """The graph that `emofuse.features.whisper_lower` runs, without the weights, by whose names it names them."""
    weights = unpack(packed)
    return without_weights(_traced(weights, fold=False), {f"model.{name}" for name in weights})


def integer_graph(packed: Mapping[str, np.ndarray]) -> bytes:
    """The same in integers, which names its weights after `integer_weights`."""
    onnx = load_onnx()
    model = onnx.load_from_string(quantise(shared(_traced(unpack(packed), fold=True)), anywhere=False))
    names: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type == "MatMulInteger":  # called after its layer: /model/blocks.0/qkv/MatMul_quant
            made = node.input[1].removesuffix("_quantized")
            layer = node.name.removeprefix("/model/").removesuffix("/MatMul_quant").replace("/", ".")
            weight = next(name for name in packed if name.endswith(f"{layer}.weight"))
            names |= {f"{made}_quantized": f"model.{weight}", f"{made}_scale": f"model.{weight}{SCALE}"}
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    model.producer_version = f"{torch.__version__}, onnxruntime {onnxruntime.__version__}"
    return without_weights(model.SerializeToString(), {f"model.{name}" for name in integer_weights(packed)})


def product() -> bytes:
    """The graph of `emofuse.graph.multiplies_integers`."""
    onnx = load_onnx()
    kinds = {"a": onnx.TensorProto.UINT8, "b": onnx.TensorProto.INT8, "product": onnx.TensorProto.INT32}
    a, b, result = (onnx.helper.make_tensor_value_info(n, kind, [None, None]) for n, kind in kinds.items())
    node = onnx.helper.make_node("MatMulInteger", ["a", "b"], ["product"])
    graph = onnx.helper.make_graph([node], "product", [a, b], [result])
    opset = [onnx.helper.make_opsetid("", OPSET)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def _traced(weights: Mapping[str, np.ndarray], fold: bool) -> bytes:
    model = WhisperLower()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    call = Call(model.eval(), ["log_mel"], [], "rows")
    axes = {"log_mel": {0: "batch", 1: "frames"}}
    return trace(call, (torch.randn(3, 40, N_MELS),), list(axes), axes.__getitem__, {}, fold)
