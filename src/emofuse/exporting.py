"""Networks of torch as ONNX graphs, each compared with its network before it is believed."""

import io
import json
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emofuse.checkpoint import Checkpoint
from emofuse.errors import ConfigError, DataError
from emofuse.example import Example, model_inputs
from emofuse.graph import ERRORS, FORMAT, KEY, GraphNetwork
from emofuse.models.cma import CMA, CMAConfig
from emofuse.models.face_cnn import FaceCNNConfig
from emofuse.models.layers import PaddedLSTM
from emofuse.models.linear import LinearConfig
from emofuse.models.minilm import MiniLMConfig
from emofuse.models.mlp import MLPConfig
from emofuse.models.network import TorchNetwork, explanations, tensors
from emofuse.models.text_cnn import TextCNNConfig
from emofuse.models.whisper_lower import N_MELS, WhisperLower
from emofuse.network import Inputs, Outcome

OPSET = 17
TOLERANCE = 1e-4
"""Largest difference of a graph's logits from its network's, as a share of the largest logit or of 1."""

FACE_SIZE = 48
BATCHES = ((3, 7), (1, 4), (2, 11), (5, 6))
"""Batch sizes and steps: of the first the graph is traced, of the others it has to be right too."""


Axes = Callable[[str], dict[int, str]]


class _Call(nn.Module):
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
    network = checkpoint.trained().network
    if not isinstance(network, TorchNetwork):
        raise ConfigError(f"{system}: was exported before; export the checkpoint that it was made of")
    least = least_steps(network.model, modalities)
    batches = [sample_batch(network, config, modalities, least, *sizes, seed=i) for i, sizes in enumerate(BATCHES)]
    memories = _memories(network, batches[0])
    call = _Call(network.model, list(batches[0]), memories)
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
        difference = largest_difference(network, graph, batches)
    except (RuntimeError, torch.onnx.errors.OnnxExporterError, DataError, *ERRORS) as error:
        raise ConfigError(f"{system}: cannot be expressed in ONNX ({' '.join(str(error).split())[:160]})") from None
    if not difference <= TOLERANCE:
        raise ConfigError(f"{system}: its graph is {difference:.1g} off the network, at most {TOLERANCE:g} is allowed")
    return graph


def trace(
    call: "_Call", given: Sequence[Tensor], names: Sequence[str], axes: Axes, about: Mapping[str, str], fold: bool = True
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
    import onnx

    with torch.inference_mode():
        call(*given)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that is right about the length (see below) says that there is a newer one, and what a trace
        # might get wrong; that is compared afterwards.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            call,
            tuple(given),
            stream,
            input_names=list(names),
            output_names=call.outputs,
            dynamic_axes={n: a for n in names if (a := axes(n))},
            opset_version=OPSET,
            do_constant_folding=fold,
            training=torch.onnx.TrainingMode.PRESERVE,
            dynamo=False,  # the newer one bakes in the time of convolutions, LSTMs and attention, without an error
        )
    model = onnx.load_from_string(stream.getvalue())
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)
    for node in model.graph.node:
        node.ClearField("doc_string")
    return model.SerializeToString()


def without_weights(graph: bytes, weights: Collection[str]) -> bytes:
    """A graph that only names these of its initializers; whoever opens it gives their values, see `open_graph`.

    What ships so has its weights once, in 8 bits a value, for both engines.

    Args:
        graph: From `trace` without `fold`.
        weights: Names of initializers.

    Raises:
        ConfigError: The graph lacks one of them: two that are equal were made one.
    """
    import onnx

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
    call = _Call(model.eval(), ["log_mel", "n_rows"], [], "rows")
    given = torch.randn(3, 40, N_MELS), torch.tensor([20, 15, 7])
    axes = {"log_mel": {0: "batch", 1: "frames"}, "n_rows": {0: "batch"}}
    graph = trace(call, given, list(axes), axes.__getitem__, {}, fold=False)
    return without_weights(graph, {f"model.{name}" for name in weights})


def least_steps(model: nn.Module, modalities: Sequence[str]) -> dict[str, int]:
    """Modality to the fewest steps of it that a model can take, where that is more than one."""
    if not isinstance(model, CMA) or model.speech_encoder is None:
        return {}
    return {"speech": model.speech_encoder.least_steps} if "speech" in modalities else {}


def sample_batch(
    network: TorchNetwork,
    config: Any,
    modalities: Sequence[str],
    least: Mapping[str, int],
    n: int,
    n_steps: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """A batch of random inputs, (n, up to about n_steps, ...), with padding, and without a modality here and there.

    Args:
        network: What they are for.
        config: Its sizes.
        modalities: What it decides on.
        least: As `least_steps` gives it.
        n: Batch size.
        n_steps: Utterances, words, frames; more where there are more of them in a second.
        seed: Of the values.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, n_steps + 1, n)
    lengths[0] = n_steps
    if network.level == "conversation":
        dims = config.feature_dims
        inputs: dict[str, np.ndarray] = {"lengths": lengths, "present": rng.random((n, n_steps, len(dims))) < 0.8}
        inputs |= {m: rng.normal(size=(n, n_steps, dims[m])).astype(np.float32) for m in modalities}
        return inputs | ({"turns": rng.choice([-1, 0, 1], (n, n_steps, 2)).astype(np.float32)} if network.turns else {})
    examples = []
    for i, length in enumerate(lengths):
        arrays = {m: _sample(config, m, int(length), least.get(m, 1), rng) for m in modalities}
        lacks = modalities[(i + seed) % len(modalities)] if len(modalities) > 1 and (i + seed) % 2 else None
        present = None if lacks is None else {m: np.array([m != lacks]) for m in modalities}
        if lacks is not None:
            arrays[lacks] = arrays[lacks][:0]
        examples.append(Example(("",), np.zeros(1, int), arrays, present=present))
    return model_inputs(examples, network.level)


def _sample(config: Any, modality: str, n_steps: int, least: int, rng: np.random.Generator) -> np.ndarray:
    """One utterance's input of a modality."""
    match config:
        case CMAConfig() if modality == "speech":
            raw = config.speech_input == "waveform"
            n_steps = least + n_steps * (517 if raw else 13)
            return rng.normal(size=n_steps if raw else (n_steps, config.n_bins)).astype(np.float32)
        case CMAConfig() | TextCNNConfig():
            return rng.normal(size=(n_steps, config.word_dim)).astype(np.float32)
        case MiniLMConfig():
            return rng.integers(4, config.n_pieces, min(n_steps, config.max_pieces)).astype(np.int32)
        case MLPConfig() | LinearConfig():
            return rng.normal(size=config.n_features).astype(np.float32)
        case FaceCNNConfig():
            return rng.integers(0, 256, (n_steps, FACE_SIZE, FACE_SIZE)).astype(np.float32)
    raise ConfigError(f"{type(config).__name__}: no sample of its input is known, so it cannot be exported")


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


def largest_difference(network: TorchNetwork, graph: bytes, batches: Sequence[Inputs]) -> float:
    """Between what a graph and its network make of batches, as a share of the largest value, or of 1."""
    other = GraphNetwork(graph, "the graph")
    found = [_difference(network(b), other(b), b) for b in batches]
    if network.goes_on:
        memories: tuple[dict[Any, Any], dict[Any, Any]] = {}, {}
        for b in batches:  # one conversation, piece by piece
            piece = {k: x[:1] for k, x in b.items()}
            found.append(_difference(network(piece, memories[0]), other(piece, memories[1]), piece))
    return max(found)


def _difference(a: Outcome, b: Outcome, inputs: Inputs) -> float:
    """Where steps are valid; infinite where shapes or names differ."""
    pairs = [(a.logits, b.logits)]
    for first, second in ((a.received, b.received), (a.shares, b.shares)):
        if set(first) != set(second):
            return float("inf")
        pairs += [(x, second[m]) for m, x in first.items()]
    largest = 0.0
    for x, y in pairs:
        if x.shape != y.shape:
            return float("inf")
        if "lengths" in inputs:
            valid = np.arange(x.shape[1]) < inputs["lengths"][:, None]
            x, y = x[valid], y[valid]
        largest = max(largest, float(np.abs(x - y).max() / max(1.0, np.abs(x).max())))
    return largest
