"""A trained system on disk: a folder of `model.safetensors` (every number) and `config.json` (everything else)."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import nn

from emofuse.errors import ConfigError, DataError
from emofuse.models import build, make_config, system
from emofuse.quantised import pack, unpack

FORMAT = 1
_NEEDED = ("format", "system", "model", "classes", "features")


@dataclass(frozen=True)
class Checkpoint:
    """A network with what is needed to use it.

    Attributes:
        system: As in `MODELS`.
        model_config: Sizes; ``asdict`` of it is stored.
        model: The network, in evaluation mode when loaded.
        classes: Class names in the order of the logits.
        features: Modality to the JSON part of its fitted feature.
        feature_arrays: Modality to the arrays of its fitted feature.
        temperature: Logits are divided by it before the softmax: fitted on dev.
        provenance: Recipe, protocol, fold, seed, selection and metrics: how it came about.
    """

    system: str
    model_config: Any
    model: nn.Module
    classes: tuple[str, ...]
    features: dict[str, dict[str, Any]] = field(default_factory=dict)
    feature_arrays: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    temperature: float = 1.0
    provenance: dict[str, Any] = field(default_factory=dict)
    weights: Literal["float32", "int8"] = "float32"
    """How the file keeps the network's weights; in memory they are float32."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the system decides on: in context one of a single modality carries the features of others too."""
        own = system(self.system).modalities
        return own if len(own) == 1 else tuple(self.features)


def write_folder(path: Path, files: Mapping[str, str | dict[str, np.ndarray]]) -> None:
    """Write text files and safetensors to a temporary folder and rename it to `path`, replacing it."""
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, content in files.items():
        if isinstance(content, str):
            (partial / name).write_text(content, encoding="utf-8")
        else:
            save_file({k: np.ascontiguousarray(v) for k, v in content.items()}, partial / name)
    if path.exists():
        old = path.with_name(f"{path.name}.old.partial")
        shutil.rmtree(old, ignore_errors=True)
        path.replace(old)
        partial.replace(path)
        shutil.rmtree(old)
    else:
        partial.replace(path)


def refuse_foreign_folder(path: Path) -> None:
    """Raise DataError unless `path` is new, an empty folder, or a checkpoint that may be replaced."""
    if path.exists() and not (path.is_dir() and ((path / "config.json").exists() or not any(path.iterdir()))):
        raise DataError(f"{path}: exists and is not a checkpoint, give a new folder")


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint folder; an interrupted write leaves the former one, at worst under ``PATH.old.partial``.

    Raises:
        DataError: There is something else at `path`, which would be lost.
    """
    refuse_foreign_folder(path)
    state = {k: v.detach().cpu().numpy() for k, v in checkpoint.model.state_dict().items()}
    arrays = {f"model/{k}": v for k, v in (pack(state) if checkpoint.weights == "int8" else state).items()}
    for modality, part in checkpoint.feature_arrays.items():
        arrays |= {f"features/{modality}/{k}": v for k, v in part.items()}
    config = {
        "format": FORMAT,
        "system": checkpoint.system,
        "model": asdict(checkpoint.model_config),
        "classes": list(checkpoint.classes),
        "features": checkpoint.features,
        "temperature": checkpoint.temperature,
        "provenance": checkpoint.provenance,
    }
    write_folder(path, {"config.json": json.dumps(config, indent=1, ensure_ascii=False), "model.safetensors": arrays})


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
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


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint folder; nothing in it is executed.

    Raises:
        DataError: It is missing, malformed, or its weights do not fit its sizes.
    """
    config = _read_config(path)
    file = path / "model.safetensors"
    try:
        arrays = load_file(file)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file}: cannot be read as safetensors ({error})") from None
    state: dict[str, np.ndarray] = {}
    feature_arrays: dict[str, dict[str, np.ndarray]] = {m: {} for m in config["features"]}
    for key, array in arrays.items():
        group, _, name = key.partition("/")
        if group == "model":
            state[name] = array
        else:
            modality, _, name = name.partition("/")
            feature_arrays.setdefault(modality, {})[name] = array
    try:
        model_config = make_config(config["system"], **config["model"])
        model = build(config["system"], model_config)
        model.load_state_dict({k: torch.from_numpy(v) for k, v in unpack(state).items()})
    except (ConfigError, RuntimeError, TypeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: weights and sizes do not fit each other: {reason}") from None
    return Checkpoint(
        config["system"],
        model_config,
        model.eval(),
        tuple(config["classes"]),
        config["features"],
        feature_arrays,
        float(config.get("temperature", 1.0)),
        config.get("provenance", {}),
    )
