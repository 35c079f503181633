"""Networks that are compiled before they are trained, where `TrainingConfig.compile` asks for it."""

import os
import shutil
from importlib.util import find_spec

import torch
from torch import nn

from emofuse.errors import ConfigError
from emofuse.protocol.settings import CompileMode


def compiled(model: nn.Module, mode: CompileMode, device: torch.device) -> nn.Module:
    """The network as torch's compiler makes it, with the same weights; as it is for mode ``none``.

    It is compiled in the first steps; what depends on lengths is left to Python. `torch.compile` says what the other
    modes do; ``reduce-overhead`` replays CUDA graphs, one for each shape of a batch.

    Raises:
        ConfigError: What the compiler needs for the device is not installed.
    """
    if mode == "none":
        return model
    cxx = os.environ.get("CXX", "g++")
    if device.type == "cpu" and shutil.which(cxx) is None:
        raise ConfigError(f"training.compile is {mode!r}: needs a C++ compiler, {cxx} is not there; set CXX, or none")
    if device.type == "cuda" and find_spec("triton") is None:
        raise ConfigError(f"training.compile is {mode!r}: needs triton, which is not installed; install it, or none")
    return torch.compile(model, mode=mode)  # type: ignore[return-value]
