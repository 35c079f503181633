"""A trained system on disk: a folder of `model.safetensors` (every number) and `config.json` (everything else)."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from emofuse.errors import ConfigError, DataError
from emofuse.graph import GRAPH
from emofuse.models import build, make_config, system
from emofuse.models.inference import for_inference
from emofuse.models.network import GraphModule, TorchNetwork
from emofuse.network import Network
from emofuse.quantised import pack, unpack
from emofuse.trained import (
    ARRAYS,
    CONFIG,
    Trained,
    config_text,
    of_features,
    open_graph_of,
    read_stored,
    write_folder,
)


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

    def config_text(self) -> str:
        """What its ``config.json`` says."""
        return config_text(
            self.system,
            asdict(self.model_config),
            self.classes,
            self.features,
            self.temperature,
            self.provenance,
        )

    def trained(self) -> Trained:
        """It as a predictor needs it, run by torch (an exported one by onnxruntime)."""
        if isinstance(self.model, GraphModule):
            network: Network = self.model.network
        else:
            network = TorchNetwork(self.system, self.model_config, for_inference(self.model))
        return Trained(
            self.system,
            self.classes,
            self.features,
            self.feature_arrays,
            self.temperature,
            self.provenance,
            self.modalities,
            network,
        )


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
    write_folder(path, {CONFIG: checkpoint.config_text(), ARRAYS: arrays | of_features(checkpoint.feature_arrays)})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint folder; nothing in it is executed.

    Raises:
        DataError: It is missing, malformed, or its weights do not fit its sizes.
    """
    stored = read_stored(path)
    try:
        model_config = make_config(stored.system, **stored.sizes)
        if not stored.weights and (path / GRAPH).exists():
            model: nn.Module = GraphModule(open_graph_of(stored))
        else:
            model = build(stored.system, model_config)
            model.load_state_dict({k: torch.from_numpy(v) for k, v in unpack(stored.weights).items()})
    except (ConfigError, RuntimeError, TypeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: weights and sizes do not fit each other: {reason}") from None
    return Checkpoint(
        stored.system,
        model_config,
        model.eval(),
        stored.classes,
        stored.features,
        stored.feature_arrays,
        stored.temperature,
        stored.provenance,
    )
