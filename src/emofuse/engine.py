"""Which engine runs a trained system's network: torch, or onnxruntime alone."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from emofuse.errors import ConfigError
from emofuse.graph import GRAPH
from emofuse.trained import Trained, has_weights, open_exported

Engine = Literal["auto", "torch", "onnx"]
"""``auto``: onnxruntime where the folder holds a graph, as of the model that ships and of exported ones, else torch.

It is no slower, and torch alone takes longer to load than a first prediction may.
"""


def open_trained(folder: Path, engine: Engine = "auto") -> Trained:
    """The trained system of a folder, ready to run.

    Args:
        folder: From `emofuse train` or `emofuse export`.
        engine: What runs it.

    Raises:
        DataError: Something is missing or malformed.
        ConfigError: The folder, or this installation, has nothing for that engine.
    """
    if engine not in get_args(Engine):
        raise ConfigError(f"engine {engine!r}: one of {', '.join(get_args(Engine))}")
    has_graph, has_torch = (folder / GRAPH).exists(), find_spec("torch") is not None
    if engine == "onnx" and not has_graph:
        raise ConfigError(f"{folder}: has no {GRAPH} for onnxruntime: emofuse export {folder} --out FOLDER makes one")
    if engine == "onnx" or (engine == "auto" and has_graph):
        return open_exported(folder)
    if has_graph and not has_weights(folder):
        raise ConfigError(f"{folder}: was exported and is run by onnxruntime alone: leave --engine torch out")
    if not has_torch:
        need = "export it where torch is installed" if engine == "auto" else "or take --engine onnx"
        raise ConfigError(f'{folder}: needs torch: pip install "emofuse[torch]", {need}')
    from emofuse.checkpoint import load_checkpoint

    return load_checkpoint(folder).trained()
