"""Networks of torch as ONNX graphs, each compared with its network before it is believed."""

import json
import tempfile
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

from emofuse.checkpoint import Checkpoint
from emofuse.errors import ConfigError, DataError
from emofuse.exporting.parity import BATCHES, largest_difference, least_steps, sample_batch
from emofuse.graph import ERRORS, FORMAT, KEY, GraphNetwork
from emofuse.models.layers import PaddedLSTM
from emofuse.models.linear import LinearConfig
from emofuse.models.mlp import MLPConfig
from emofuse.models.network import GraphModule, TorchNetwork, explanations, tensors
from emofuse.network import Inputs

OPSET = 17

TOLERANCE = 1e-4
"""Largest difference of a graph's logits from its network's, as a share of the largest logit or of 1."""

Axes = Callable[[str], dict[int, str]]


class Call(nn.Module):
    """A model's `forward` with its inputs in a row, as tracing wants it: tensors in, tensors out."""

    def __init__(
        self, model: nn.Module, names: Sequence[str], memories: Sequence[PaddedLSTM], result: str = "logits"
    ) -> None:
        """`names` are the inputs', without the `memories`, which come behind them by two."""
        super().__init__()
        self.model, self._names, self._memories, self._result = model, tuple(names), tuple(memories), result
        self.outputs: list[str] = []

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Logits, explanations, what is remembered."""
        inputs = dict(zip(self._names, given, strict=False))
        states = given[len(inputs) :]
        memory = {m: (states[2 * i], states[2 * i + 1]) for i, m in enumerate(self._memories)}
        found = {self._result: self.model(**inputs, memory=memory) if memory else self.model(**inputs)}
        received, shares = explanations(self.model, inputs)
        found |= {f"received.{m}": x for m, x in received.items()} | {f"shares.{m}": x for m, x in shares.items()}
        after = [x for m in self._memories for x in memory[m]]
        found |= {f"next.{name}": x for name, x in zip(memory_names(self._memories), after, strict=True)}
        self.outputs = list(found)
        return tuple(found.values())


def memory_names(memories: Sequence[PaddedLSTM]) -> list[str]:
    """Inputs of the states of LSTMs, h and c of each."""
    return [f"memory.{i}.{part}" for i in range(len(memories)) for part in "hc"]


def export_network(checkpoint: Checkpoint, fold: bool = True) -> bytes:
    """The ONNX graph of a checkpoint's network, for batches and sequences of any length.

    Args:
        checkpoint: Whose network it is.
        fold: See `trace`.

    Raises:
        ConfigError: It cannot be expressed, or gives other values than the network.
    """
    system, config, modalities = checkpoint.system, checkpoint.model_config, checkpoint.modalities
    network = plain_network(checkpoint)
    least = least_steps(network.model, modalities)
    batches = [sample_batch(network, config, modalities, least, *sizes, seed=i) for i, sizes in enumerate(BATCHES)]
    memories = _memories(network, batches[0])
    call = Call(network.model, list(batches[0]), memories)
    given = list(tensors(batches[0]).values())
    for lstm in memories:
        given += [torch.zeros(lstm.num_layers, BATCHES[0][0], lstm.hidden_size)] * 2
    about = {
        "format": FORMAT,
        "system": system,
        "level": network.level,
        "modalities": list(modalities),
        "turns": network.turns,
        "goes_on": network.goes_on,
        "least_steps": least,
    }
    names = [*batches[0], *memory_names(memories)]
    try:
        graph = trace(call, given, names, partial(_axes, config), {KEY: json.dumps(about)}, fold)
        graph = shared(graph) if fold else graph
        difference = largest_difference(network, GraphNetwork(graph, system), batches)
    except (RuntimeError, torch.onnx.errors.OnnxExporterError, DataError, *ERRORS) as error:
        raise ConfigError(f"{system}: cannot be expressed in ONNX ({' '.join(str(error).split())[:160]})") from None
    if not difference <= TOLERANCE:
        raise ConfigError(f"{system}: its graph is {difference:.1g} off the network, at most {TOLERANCE:g} is allowed")
    return graph


def plain_network(checkpoint: Checkpoint) -> TorchNetwork:
    """A checkpoint's network as it was trained, without what makes it quicker in use.

    Raises:
        ConfigError: It is a graph already.
    """
    if isinstance(checkpoint.model, GraphModule):
        raise ConfigError(f"{checkpoint.system}: was exported before; export the checkpoint that it was made of")
    return TorchNetwork(checkpoint.system, checkpoint.model_config, checkpoint.model)


def trace(
    call: "Call", given: Sequence[Tensor], names: Sequence[str], axes: Axes, about: Mapping[str, str], fold: bool = True
) -> bytes:
    """The graph of a module on tensors.

    Args:
        call: The module.
        given: Its inputs.
        names: Of the inputs.
        axes: An input's name to those of its axes that may have any size, by their names.
        about: Metadata of the graph.
        fold: Compute what depends on weights alone beforehand. Without, its initializers have the names of the
            module's parameters, see `without_weights`.
    """
    onnx = load_onnx()
    with torch.inference_mode():
        call(*given)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        file = Path(folder) / "graph.onnx"
        # The exporter that is right about the length (see below) says that there is a newer one, and what a trace
        # might get wrong; that is compared afterwards.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            call,
            tuple(given),
            file,
            input_names=list(names),
            output_names=call.outputs,
            dynamic_axes={n: a for n in names if (a := axes(n))},
            opset_version=OPSET,
            do_constant_folding=fold,
            training=torch.onnx.TrainingMode.PRESERVE,
            dynamo=False,  # the newer one bakes in the time of convolutions, LSTMs and attention, without an error
        )
        model = onnx.load(file)
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)
    for node in model.graph.node:
        node.ClearField("doc_string")
    return model.SerializeToString()


def shared(graph: bytes) -> bytes:
    """A graph that computes once what it computed twice, as an encoder for the logits and for the attention."""
    options = onnxruntime.SessionOptions()
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # operators of the standard alone
    options.graph_optimization_level = level
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.onnx"
        options.optimized_model_filepath = str(file)
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        return file.read_bytes()


def without_weights(graph: bytes, weights: Collection[str]) -> bytes:
    """A graph that only names these of its initializers; whoever opens it gives their values, see `open_graph`.

    What ships so has its weights once, in 8 bits a value, for both engines.

    Args:
        graph: From `trace` without `fold`.
        weights: Names of initializers.

    Raises:
        ConfigError: The graph lacks one of them: two that are equal were made one.
    """
    onnx = load_onnx()
    model = onnx.load_from_string(graph)
    missing = set(weights) - {tensor.name for tensor in model.graph.initializer}
    if missing:
        raise ConfigError(f"the graph has no weight of its own for {min(missing)}")
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="model.safetensors")
    return model.SerializeToString()


def _axes(config: Any, name: str) -> dict[int, str]:
    """Which axes of an input may have any size."""
    if name.startswith("memory."):
        return {1: "batch"}
    if name.endswith("lengths") or isinstance(config, MLPConfig | LinearConfig):
        return {0: "batch"}
    return {0: "batch", 1: "utterances" if hasattr(config, "feature_dims") else f"{name}_steps"}


def _memories(network: TorchNetwork, inputs: Inputs) -> list[PaddedLSTM]:
    """The LSTMs that a network goes on from, in the order of their use."""
    memory: dict[Any, Any] = {}
    if network.goes_on:
        network(inputs, memory)
    return list(memory)


def load_onnx() -> Any:
    """The package onnx.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise ConfigError('exporting needs onnx: pip install "emofuse[export]"') from None
    return onnx
