"""Networks as ONNX graphs, run by onnxruntime: without torch."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors  # pyright: ignore[reportAttributeAccessIssue]

from emofuse.errors import ConfigError, DataError
from emofuse.network import Inputs, Memory, Outcome

GRAPH = "model.onnx"
"""The file's name in the folder of a trained system."""

KEY, FORMAT = "emofuse", 1
"""Where a graph's metadata say what a predictor must know of it, as JSON; and their version."""

PRODUCT = Path(__file__).parent / "assets" / "integer-product.onnx"
"""A product of matrices, "a" of unsigned and "b" of signed bytes, to integers: see `multiplies_integers`."""

ERRORS = (
    onnx_errors.Fail,
    onnx_errors.InvalidArgument,
    onnx_errors.InvalidGraph,
    onnx_errors.InvalidProtobuf,
    onnx_errors.NotImplemented,
    onnx_errors.RuntimeException,
)
"""What onnxruntime raises for a file that it cannot use."""

_TYPES = {"float": np.float32, "int32": np.int32, "int64": np.int64, "uint8": np.uint8, "bool": np.bool_}


def open_graph(
    content: bytes, source: str, weights: Mapping[str, np.ndarray] | None = None
) -> onnxruntime.InferenceSession:
    """A graph that is ready to run, in one thread: the networks are small, and no pool of threads survives a fork.

    Args:
        content: The graph.
        source: Names it in messages.
        weights: Values of those of its initializers that it names only, see `emofuse.exporting.without_weights`.

    Raises:
        DataError: It cannot be run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # of what a graph says about itself nothing can be mended by a user
    if weights:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(w)) for w in weights.values()]
        options.add_external_initializers(list(weights), values)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{source}: not an ONNX model that onnxruntime can run ({reason})") from None


@cache
def multiplies_integers() -> bool:
    """Whether products of bytes are exact here: some older processors add two of them in 16 bits, which overflow."""
    a, b = np.full((8, 64), 255, np.uint8), np.full((64, 32), 127, np.int8)
    (found,) = open_graph(PRODUCT.read_bytes(), str(PRODUCT)).run(None, {"a": a, "b": b})
    return bool((np.asarray(found) == 64 * 255 * 127).all())


class GraphNetwork:
    """A `Network` that onnxruntime runs, of a graph that `emofuse.exporting` made.

    Args:
        content, source, weights: As `open_graph` takes them.

    Raises:
        DataError: The graph is damaged or of another make.
    """

    def __init__(self, content: bytes, source: str, weights: Mapping[str, np.ndarray] | None = None) -> None:
        """Open the graph."""
        self._session = open_graph(content, source, weights)
        try:
            about = json.loads(self._session.get_modelmeta().custom_metadata_map[KEY])
            if about["format"] != FORMAT:
                raise ValueError(f"format {about['format']}, this version reads {FORMAT}")
            self.level, self.turns, self.goes_on = str(about["level"]), bool(about["turns"]), bool(about["goes_on"])
            self.modalities = tuple(about["modalities"])
            self._least: dict[str, int] = about["least_steps"]
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"{source}: not a graph that `emofuse export` made ({error!r})") from None
        self._inputs = {entry.name: entry for entry in self._session.get_inputs()}
        self._outputs = [entry.name for entry in self._session.get_outputs()]
        self._states = [name for name in self._inputs if name.startswith("memory.")]

    def __call__(self, inputs: Inputs, memory: Memory | None = None) -> Outcome:
        """See `Network`."""
        given = {**inputs, **{name: memory[name] for name in self._states if memory and name in memory}}
        found = dict(zip(self._outputs, self._run(given, None), strict=True))
        if memory is not None:
            memory |= {name: found[f"next.{name}"] for name in self._states}

        def under(prefix: str) -> dict[str, np.ndarray]:
            return {name.removeprefix(prefix): x for name, x in found.items() if name.startswith(prefix)}

        return Outcome(found["logits"], under("received."), under("shares."))

    def logits(self, inputs: Inputs) -> np.ndarray:
        """See `Network`."""
        return self._run(inputs, ["logits"])[0]

    def _run(self, inputs: Inputs, outputs: list[str] | None) -> list[np.ndarray]:
        n = next(len(x) for x in inputs.values())
        n_steps = max((x.shape[1] for name, x in inputs.items() if name in self.modalities), default=1)
        given = {}
        for name, entry in self._inputs.items():
            x = inputs.get(name)
            least = self._least.get(name, 1)
            if x is None:
                x = self._absent(entry, n, least if self.level == "utterance" else n_steps)
            elif x.shape[1:] and x.shape[1] < least:
                x = np.pad(x, [(0, 0), (0, least - x.shape[1]), *[(0, 0)] * (x.ndim - 2)])
            given[name] = np.asarray(x, _type_of(entry))
        for name, least in self._least.items():
            lengths = given.get(f"{name}_lengths")
            if lengths is not None and ((lengths > 0) & (lengths < least)).any():
                raise ConfigError("a clip is too short for the convolutions' strides: nothing is left after them")
        return [np.asarray(x) for x in self._session.run(outputs, given)]

    def _absent(self, entry: Any, n: int, n_steps: int) -> np.ndarray:
        """What stands for an input that is not given: everything is present, nothing is heard, said or remembered."""
        sizes = {"batch": n}
        shape = [axis if isinstance(axis, int) else sizes.get(axis, n_steps) for axis in entry.shape]
        return np.full(shape, entry.name == "present", _type_of(entry))


def _type_of(entry: Any) -> type:
    return _TYPES[entry.type.removeprefix("tensor(").removesuffix(")")]
