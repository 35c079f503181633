"""The convolutions and the lower layers of Whisper's encoder (Radford et al. 2022), of which the shipped graph is made.

`emofuse.features.whisper_lower` runs that graph; here it can be read, and made again.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emofuse.models.layers import attention

N_MELS, D_MODEL, N_HEADS, N_LAYERS = 80, 384, 6, 2
"""Of ``tiny.en``, whose encoder has 4 layers."""


class Block(nn.Module):
    """Self-attention and feed-forward layer with residuals, normalised before each."""

    def __init__(self) -> None:
        """Sizes of ``tiny.en``."""
        super().__init__()
        d = D_MODEL
        self.attention_norm, self.mlp_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.output = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp1, self.mlp2 = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, n, d) -> (batch, n, d)."""
        q, k, v = self.qkv(self.attention_norm(x)).unflatten(2, (3, N_HEADS, -1)).permute(2, 0, 3, 1, 4)
        attended = attention(q, k, v, None, (D_MODEL // N_HEADS) ** -0.5)
        x = x + self.output(attended.transpose(1, 2).flatten(2))
        return x + self.mlp2(F.gelu(self.mlp1(self.mlp_norm(x))))


class Convolution(nn.Conv1d):
    """A convolution of kernel 3 and padding 1 as one product with a matrix, which can be computed in integers."""

    def forward(self, input: Tensor) -> Tensor:
        """(batch, frames, channels) -> (batch, frames / stride, filters)."""
        assert self.bias is not None
        (stride,) = self.stride
        padded, end = F.pad(input, (0, 0, 1, 1)), input.shape[1] + 1 - stride
        rows = torch.cat([padded[:, tap : end + tap : stride] for tap in range(3)], dim=2)
        return rows @ self.weight.permute(2, 1, 0).flatten(0, 1) + self.bias


class WhisperLower(nn.Module):
    """Log-mel bands to the output of the second layer."""

    def __init__(self) -> None:
        """Weights are named as in the file that ships."""
        super().__init__()
        self.stem = nn.ModuleDict(
            {
                "conv1": Convolution(N_MELS, D_MODEL, 3, padding=1),
                "conv2": Convolution(D_MODEL, D_MODEL, 3, stride=2, padding=1),
            }
        )
        self.blocks = nn.ModuleList(Block() for _ in range(N_LAYERS))

    def forward(self, log_mel: Tensor) -> Tensor:
        """(batch, frames, 80), an even number of frames -> (batch, frames / 2, 384)."""
        x = F.gelu(self.stem["conv1"](log_mel))
        x = F.gelu(self.stem["conv2"](x))
        # Sinusoids: half of the columns sines and half cosines of wavelengths from 2 pi to 20,000 pi rows.
        wavelengths = torch.exp(-math.log(10_000) / (D_MODEL // 2 - 1) * torch.arange(D_MODEL // 2))
        angles = torch.arange(x.shape[1])[:, None] * wavelengths
        x = x + torch.cat([angles.sin(), angles.cos()], dim=1)
        for block in self.blocks:
            x = block(x)
        return x
