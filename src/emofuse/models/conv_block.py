"""Convolution, batch normalisation, ReLU and pooling of padded sequences: what CMA hears with."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emofuse.errors import ConfigError
from emofuse.models.first_block import clip_by_clip, folded_weights
from emofuse.models.layers import GlobalBatchNorm2d, length_mask, masked_batch_norm


class ConvBlock(nn.Module):
    """Conv1d, batch normalisation, ReLU, max pooling: one of the three blocks behind Eq. (1).

    Computed as a picture one pixel high in torch's channels-last layout: the values are those of the
    one-dimensional layers, whose pooling torch does not vectorise on a CPU. The block of a waveform is trained as
    `emofuse.models.first_block` says.
    """

    def __init__(self, n_input: int, n_output: int, kernel: int, stride: int, pool: int, pool_stride: int) -> None:
        """Sizes in steps; padding is half a kernel, so that stride 1 keeps the length."""
        super().__init__()
        self.kernel, self.stride, self.pool_size, self.pool_stride = kernel, stride, pool, pool_stride
        self.conv = nn.Conv1d(n_input, n_output, kernel, stride, padding=kernel // 2)
        self.norm = GlobalBatchNorm2d(n_output)

    def n_frames(self, n_steps: Tensor) -> tuple[Tensor, Tensor]:
        """Steps after the convolution and after the pooling, for input lengths (batch,)."""
        convolved = (n_steps + 2 * (self.kernel // 2) - self.kernel) // self.stride + 1
        return convolved, (convolved - self.pool_size) // self.pool_stride + 1

    def least_steps(self, n: int) -> int:
        """Fewest input steps of which `n` are left after the pooling."""
        convolved = (n - 1) * self.pool_stride + self.pool_size
        return max((convolved - 1) * self.stride + self.kernel - 2 * (self.kernel // 2), 1)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, channels, 1, time), (batch,) -> (batch, filters, 1, fewer), (batch,); padded steps are zero."""
        convolved, pooled = self.n_frames(lengths)
        # The paper's order is ReLU, then pooling: the same values, as both are monotone, on half as many of them.
        of_all = self.norm.over_ranks  # whose statistics need the samples of other processes
        eager = not torch.compiler.is_compiling()  # a compiler fuses the layers itself
        if self.training and x.shape[1] == 1 and x.is_cpu and not x.requires_grad and eager and not of_all:
            weight, bias = folded_weights(self.conv, self.norm, x[:, 0, 0], convolved)
            sizes = (self.kernel, self.stride, self.pool_size, self.pool_stride)
            x = clip_by_clip(x[:, 0, 0], weight, bias, sizes)
        else:
            x = F.conv2d(x, self.conv.weight[:, :, None], self.conv.bias, (1, self.stride), (0, self.kernel // 2))
            x = masked_batch_norm(self.norm, x, convolved)
            x = torch.relu(F.max_pool2d(x, (1, self.pool_size), (1, self.pool_stride)))
        # The next convolution must see zeros behind the end, as it would without padding.
        if torch.onnx.is_in_onnx_export() or int(pooled.min()) < x.shape[3]:
            x = x * length_mask(pooled, x.shape[3], x.device)[:, None, None]
        return x, pooled


def frames_left(blocks: Iterable[nn.Module], lengths: Tensor) -> Tensor:
    """Steps (batch,) after some blocks, for input lengths (batch,).

    Raises:
        ConfigError: Of a clip nothing is left.
    """
    for block in blocks:
        assert isinstance(block, ConvBlock)
        lengths = block.n_frames(lengths)[1]
        if not torch.onnx.is_in_onnx_export() and int(lengths.min()) < 1:
            raise ConfigError("a clip is too short for the convolutions' strides: nothing is left after them")
    return lengths
