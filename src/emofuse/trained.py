"""A trained system's folder without its network: what both engines read, and none of it needs torch."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from emofuse.errors import DataError
from emofuse.graph import GRAPH, GraphNetwork
from emofuse.network import Network
from emofuse.quantised import unpack

FORMAT = 1
CONFIG, ARRAYS = "config.json", "model.safetensors"
_NEEDED = ("format", "system", "model", "classes", "features")


@dataclass(frozen=True)
class Stored:
    """What a folder holds.

    Attributes:
        folder: Its path.
        system: As in `emofuse.models.MODELS`.
        sizes: The network's configuration, as JSON values.
        classes: Class names in the order of the logits.
        features: Modality to the JSON part of its fitted feature.
        feature_arrays: Modality to the arrays of its fitted feature.
        temperature: Logits are divided by it before the softmax.
        provenance: How it came about.
        weights: The network's, as they are packed; none where the network is a graph that holds them.
    """

    folder: Path
    system: str
    sizes: dict[str, Any]
    classes: tuple[str, ...]
    features: dict[str, dict[str, Any]]
    feature_arrays: dict[str, dict[str, np.ndarray]]
    temperature: float
    provenance: dict[str, Any]
    weights: dict[str, np.ndarray]


@dataclass(frozen=True)
class Trained:
    """A trained system as a predictor needs it, see `Stored`.

    Attributes:
        modalities: What it decides on.
        network: At work.
    """

    system: str
    classes: tuple[str, ...]
    features: Mapping[str, dict[str, Any]]
    feature_arrays: Mapping[str, dict[str, np.ndarray]]
    temperature: float
    provenance: dict[str, Any]
    modalities: tuple[str, ...]
    network: Network


def read_stored(path: Path) -> Stored:
    """Read the folder of a checkpoint or of an exported system; nothing in it is executed.

    Raises:
        DataError: It is missing or malformed.
    """
    config = _read_config(path)
    file = path / ARRAYS
    try:
        arrays = load_file(file)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file}: cannot be read as safetensors ({error})") from None
    weights: dict[str, np.ndarray] = {}
    feature_arrays: dict[str, dict[str, np.ndarray]] = {m: {} for m in config["features"]}
    for key, array in arrays.items():
        group, _, name = key.partition("/")
        if group == "model":
            weights[name] = array
        else:
            modality, _, name = name.partition("/")
            feature_arrays.setdefault(modality, {})[name] = array
    return Stored(
        path,
        config["system"],
        config["model"],
        tuple(config["classes"]),
        config["features"],
        feature_arrays,
        float(config.get("temperature", 1.0)),
        config.get("provenance", {}),
        weights,
    )


def has_weights(path: Path) -> bool:
    """Whether a folder holds its network's weights as arrays; False where they cannot be read."""
    try:
        with safe_open(path / ARRAYS, "numpy") as file:
            return any(key.startswith("model/") for key in file.keys())  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError):
        return False


def open_graph_of(stored: Stored) -> GraphNetwork:
    """The network of a folder that has a graph.

    Raises:
        DataError: The graph is missing, damaged, or does not fit the weights.
    """
    file = stored.folder / GRAPH
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    # A graph counts no batches.
    weights = {f"model.{k}": v for k, v in unpack(stored.weights).items() if np.issubdtype(v.dtype, np.floating)}
    return GraphNetwork(content, str(file), weights)


def open_exported(path: Path) -> Trained:
    """A folder whose network is a graph, run by onnxruntime.

    Raises:
        DataError: See `read_stored` and `open_graph_of`.
    """
    stored = read_stored(path)
    network = open_graph_of(stored)
    return Trained(
        stored.system,
        stored.classes,
        stored.features,
        stored.feature_arrays,
        stored.temperature,
        stored.provenance,
        network.modalities,
        network,
    )


def write_folder(path: Path, files: Mapping[str, str | bytes | dict[str, np.ndarray]]) -> None:
    """Write texts, bytes and safetensors to a temporary folder and rename it to `path`, replacing it."""
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, content in files.items():
        file = partial / name
        file.parent.mkdir(exist_ok=True)
        if isinstance(content, str):
            file.write_text(content, encoding="utf-8")
        elif isinstance(content, bytes):
            file.write_bytes(content)
        else:
            save_file({k: np.ascontiguousarray(v) for k, v in content.items()}, file)
    if path.exists():
        old = path.with_name(f"{path.name}.old.partial")
        shutil.rmtree(old, ignore_errors=True)
        path.replace(old)
        partial.replace(path)
        shutil.rmtree(old)
    else:
        partial.replace(path)


def config_text(
    system: str,
    sizes: Mapping[str, Any],
    classes: tuple[str, ...],
    features: Mapping[str, Any],
    temperature: float,
    provenance: Mapping[str, Any],
) -> str:
    """What ``config.json`` says; see `Stored`."""
    config = {
        "format": FORMAT,
        "system": system,
        "model": sizes,
        "classes": list(classes),
        "features": features,
        "temperature": temperature,
        "provenance": provenance,
    }
    return json.dumps(config, indent=1, ensure_ascii=False)


def of_features(feature_arrays: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The features' arrays by their names in the file."""
    return {f"features/{m}/{k}": v for m, arrays in feature_arrays.items() for k, v in arrays.items()}


def _read_config(path: Path) -> dict[str, Any]:
    file = path / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: not a checkpoint, need a folder with config.json and model.safetensors") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{file}: cannot be read as JSON ({error})") from None
    missing = [key for key in _NEEDED if not isinstance(config, dict) or key not in config]
    if missing:
        raise DataError(f"{file}: no {missing[0]!r}, need {', '.join(_NEEDED)}")
    if config["format"] != FORMAT:
        raise DataError(f"{file}: format {config['format']!r}, this version reads format {FORMAT}")
    return config
