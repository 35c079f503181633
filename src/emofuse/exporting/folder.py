"""A whole model as graphs: a checkpoint's folder, or that of a fusion with its parts."""

import json
import logging
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import softmax

from emofuse.checkpoint import Checkpoint, load_checkpoint
from emofuse.errors import DataError
from emofuse.exporting.parity import BATCHES, least_steps, sample_batch
from emofuse.exporting.tracing import export_network, plain_network
from emofuse.graph import GRAPH, GraphNetwork
from emofuse.trained import ARRAYS, CONFIG, has_weights, of_features, write_folder

FUSION = "fusion.json"

_QUANTISED = ["MatMul", "Gather", "LSTM"]
"""Operators whose weights become 8 bits: convolutions lose more by it and are small, on a CPU they get slower."""

Files = dict[str, str | bytes | dict[str, np.ndarray]]


@dataclass(frozen=True)
class Exported:
    """What became of one checkpoint.

    Attributes:
        name: Of its folder within the model's; empty for a model that is one checkpoint.
        system: Its system.
        n_bytes: Size of the graph.
        difference: Largest difference of a probability from the network's, on random inputs.
    """

    name: str
    system: str
    n_bytes: int
    difference: float


def export_model(model: Path, out: Path, int8: bool = False) -> list[Exported]:
    """Write the folder of a model whose networks are graphs; see `docs/export.md` for what is in it.

    Args:
        model: Folder of a checkpoint, or of a fusion.
        out: A new or empty folder, or one that was exported before and is replaced.
        int8: Round the weights of dense layers, LSTMs and embeddings to 8 bits.

    Raises:
        ConfigError: onnx is not installed, or a system cannot be exported.
        DataError: The model cannot be read, or there is something else at `out`.
    """
    refuse_other_folder(out)
    fusion = model / FUSION
    if not fusion.exists():
        files, done = _files_of(load_checkpoint(model), "", int8)
        write_folder(out, files)
        return [done]
    try:
        content = fusion.read_text(encoding="utf-8")
        names = list(json.loads(content)["parts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{fusion}: names no parts ({error!r})") from None
    everything: Files = {FUSION: content}
    found = []
    for name in names:
        files, done = _files_of(load_checkpoint(model / name), name, int8)
        everything |= {f"{name}/{file}": content for file, content in files.items()}
        found.append(done)
    write_folder(out, everything)
    return found


def refuse_other_folder(out: Path) -> None:
    """Raise DataError unless `out` is new, empty, or a model that was exported before."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    graphs = [*out.glob(GRAPH), *out.glob(f"*/{GRAPH}")] if out.is_dir() else []
    trained = [file for file in out.rglob(ARRAYS) if has_weights(file.parent)] if out.is_dir() else []
    if not graphs or trained:
        raise DataError(f"{out}: exists and is not an exported model, give a new folder")


def _files_of(checkpoint: Checkpoint, name: str, int8: bool) -> tuple[Files, Exported]:
    graph = export_network(checkpoint)
    if int8:
        graph = quantise(graph)
    how = {"exported": {"format": "onnx", "weights": "int8" if int8 else "float32"}}
    config = replace(checkpoint, provenance=checkpoint.provenance | how).config_text()
    files: Files = {CONFIG: config, ARRAYS: of_features(checkpoint.feature_arrays), GRAPH: graph}
    return files, Exported(name, checkpoint.system, len(graph), probability_difference(checkpoint, graph))


def quantise(graph: bytes, anywhere: bool = True) -> bytes:
    """A graph with the weights of dense layers, LSTMs and embeddings in 8 bits, with a scale a column.

    Their inputs are rounded to 8 bits as they come ("dynamic" quantisation).

    Args:
        graph: Of a network.
        anywhere: Leave one of the weights' bits unused, so that products are exact on processors too that add two of
            them in 16 bits, see `emofuse.graph.multiplies_integers`.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        whole, small = Path(folder) / "whole.onnx", Path(folder) / "small.onnx"
        whole.write_bytes(graph)
        logging.disable(logging.WARNING)  # it asks for what has been done in tracing
        try:
            quantize_dynamic(
                whole, small, _QUANTISED, per_channel=True, reduce_range=anywhere, weight_type=QuantType.QInt8
            )
        finally:
            logging.disable(logging.NOTSET)
        return small.read_bytes()


def probability_difference(checkpoint: Checkpoint, graph: bytes) -> float:
    """Largest difference of a probability of a graph from that of the network that it was made of."""
    network, other = plain_network(checkpoint), GraphNetwork(graph, checkpoint.system)
    least = least_steps(checkpoint.model, checkpoint.modalities)
    largest = 0.0
    for seed, sizes in enumerate(BATCHES):
        inputs = sample_batch(network, checkpoint.model_config, checkpoint.modalities, least, *sizes, seed=seed)
        logits = [n.logits(inputs) / checkpoint.temperature for n in (network, other)]
        p, q = (softmax(x, axis=-1) for x in logits)
        largest = max(largest, float(np.abs(p - q).max()))
    return largest
