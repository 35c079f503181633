"""R3D-18: a residual network of 3D convolutions for action recognition.

Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018, Table 1 (R3D).
Parameters are named as in torchvision's `r3d_18`, so that its published weights of Kinetics-400 can be used.

Where Pan et al. 2020 are silent, who use such a network without naming it, we choose: R3D-18, its 512 values
before the classifier, one row a clip of 16 frames.
"""

import pickle
import struct
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from emofuse.errors import ConfigError, DataError
from emofuse.features.body import N_FEATURES


def _convolution(channels_in: int, channels_out: int, stride: int) -> nn.Conv3d:
    return nn.Conv3d(channels_in, channels_out, 3, stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Two 3 × 3 × 3 convolutions and a shortcut; `stride` divides time, height and width."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        """A projection is on the shortcut where it changes the shape."""
        super().__init__()
        self.conv1 = nn.Sequential(
            _convolution(channels_in, channels_out, stride), nn.BatchNorm3d(channels_out), nn.ReLU()
        )
        self.conv2 = nn.Sequential(_convolution(channels_out, channels_out, 1), nn.BatchNorm3d(channels_out))
        self.downsample = None
        if stride != 1 or channels_in != channels_out:
            project = nn.Conv3d(channels_in, channels_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(project, nn.BatchNorm3d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels_in, time, height, width) -> (batch, channels_out, time / stride, ...)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu(shortcut + self.conv2(self.conv1(x)))


class R3D18(nn.Module):
    """Stem, four stages of two blocks, mean over time and space, classifier."""

    def __init__(self, n_classes: int = 400) -> None:
        """Kinetics-400 has 400 classes."""
        super().__init__()
        stem = nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), padding=(1, 3, 3), bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm3d(64), nn.ReLU())
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, N_FEATURES, 2), BasicBlock(N_FEATURES, N_FEATURES, 1))
        self.fc = nn.Linear(N_FEATURES, n_classes)

    def features(self, clips: Tensor) -> Tensor:
        """(batch, 3, time, height, width), normalised -> (batch, 512), non-negative."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(clips)))))
        return x.mean(dim=(2, 3, 4))

    def forward(self, clips: Tensor) -> Tensor:
        """(batch, 3, time, height, width), normalised -> logits (batch, n_classes)."""
        return self.fc(self.features(clips))


def load_r3d(file: Path) -> R3D18:
    """The network with weights from a file of torchvision's `r3d_18`, in evaluation mode.

    Args:
        file: ``.safetensors``, or ``.pth`` or ``.pt`` as torch.save writes a state dict; read without
            running anything in it.

    Raises:
        ConfigError: There is no such file, or its name ends otherwise.
        DataError: It cannot be read, or its tensors are not those of R3D-18.
    """
    state = _read_state(file)
    head = state.get("fc.weight")
    model = R3D18(head.shape[0] if head is not None and head.ndim == 2 and len(head) else 400)
    expected = model.state_dict()
    # Counters of batches are of no use here; files of old versions lack them.
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    if missing:
        raise DataError(
            f"{file}: {len(missing)} tensors missing, first {missing[0]!r}; need those of torchvision's r3d_18"
        )
    for key, tensor in expected.items():
        if key in state and state[key].shape != tensor.shape:
            raise DataError(f"{file}: {key!r} is {tuple(state[key].shape)}, R3D-18 needs {tuple(tensor.shape)}")
    surplus = sorted(set(state) - set(expected))
    if surplus:
        raise DataError(f"{file}: {len(surplus)} tensors that R3D-18 has not, first {surplus[0]!r}")
    model.load_state_dict(expected | state)
    return model.eval()


# What torch's reader without code execution raises on bytes that are not, or not quite, a file of torch.save.
_DAMAGED = (
    *(SafetensorError, pickle.UnpicklingError, struct.error, RuntimeError, OSError, EOFError, ValueError, LookupError),
    *(TypeError, AttributeError, AssertionError, ArithmeticError, MemoryError),
)


def _read_state(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise ConfigError(f"{file}: no such file, need the weights of torchvision's r3d_18 (.pth or .safetensors)")
    if file.suffix not in (".safetensors", ".pth", ".pt"):
        raise ConfigError(f"{file}: weights need to be in a .safetensors, .pth or .pt file")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols that torch.save does not write
            state = torch.load(file, map_location="cpu", weights_only=True)
    except _DAMAGED:
        raise DataError(f"{file}: cannot be read, need the weights of torchvision's r3d_18 alone") from None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise DataError(f"{file}: holds no state dict, need one of torchvision's r3d_18")
    return dict(state)
