"""The convolution block that hears a waveform, as it is trained: it makes 64 values of every four samples.

Layer after layer these values would be written and read a dozen times, and bind the training step to the memory.
Here they are never kept. What batch normalisation needs to know of them follows from the samples under the kernel,
which are few: a convolution is linear, so that the mean and variance of its output are those of its input, weighted.
So the normalisation is folded into the kernel before the convolution, and convolution, ReLU and pooling are computed
clip by clip, in the cache, and once more for the gradient.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emofuse.models.layers import track_statistics

Sizes = tuple[int, int, int, int]
"""Kernel, stride, pooling window and pooling stride, in steps."""


def folded_weights(conv: nn.Conv1d, norm: nn.BatchNorm2d, waveform: Tensor, convolved: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (filters, kernel) and bias (filters,) of a convolution of which `norm` is a part, in training.

    Values and running statistics are those of `masked_batch_norm` but for rounding.

    Args:
        conv: Of one input channel, padded by half its kernel.
        norm: Its running statistics go on.
        waveform: (batch, samples), zero behind each clip's end.
        convolved: (batch,) valid steps of the convolution.
    """
    assert conv.bias is not None
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    heard = F.pad(waveform, (kernel // 2, kernel // 2)).unfold(1, kernel, stride)
    steps = torch.arange(heard.shape[1], device=heard.device)
    valid = (steps < convolved[:, None])[..., None].to(heard.dtype)
    n = convolved.sum()
    mean = (heard * valid).sum((0, 1)) / n
    centred = ((heard - mean) * valid).flatten(0, 1)
    covariance = centred.T @ centred / n
    weight = conv.weight[:, 0]
    batch_mean = weight @ mean + conv.bias
    variance = ((weight @ covariance) * weight).sum(1)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    track_statistics(norm, batch_mean, variance * n / (n - 1).clamp(min=1))
    return weight * scale[:, None], norm.bias + (conv.bias - batch_mean) * scale


def convolve_and_pool(waveform: Tensor, weight: Tensor, bias: Tensor, sizes: Sizes) -> Tensor:
    """Convolution, pooling and ReLU: (batch, samples), (filters, kernel), (filters,) -> (batch, filters, 1, fewer)."""
    kernel, stride, pool, pool_stride = sizes
    x = waveform[:, None, None].to(memory_format=torch.channels_last)
    x = F.conv2d(x, weight[:, None, None], bias, (1, stride), (0, kernel // 2))
    return torch.relu(F.max_pool2d(x, (1, pool), (1, pool_stride)))


class _ClipByClip(torch.autograd.Function):
    """`convolve_and_pool` of which nothing is kept but its input."""

    @staticmethod
    def forward(ctx: Any, waveform: Tensor, weight: Tensor, bias: Tensor, sizes: Sizes, dtype: torch.dtype) -> Tensor:
        """Rounded to `dtype`."""
        ctx.save_for_backward(waveform, weight, bias)
        ctx.sizes = sizes
        output: Tensor | None = None
        with torch.autocast(waveform.device.type, enabled=False):
            for i, clip in enumerate(waveform.split(1)):
                y = convolve_and_pool(clip, weight, bias, sizes)
                if output is None:
                    shape = (len(waveform), *y.shape[1:])
                    output = torch.empty(shape, dtype=dtype, device=y.device, memory_format=torch.channels_last)
                output[i] = y[0]
        assert output is not None
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, Tensor, None, None]:
        """Of weight and bias."""
        waveform, weight, bias = ctx.saved_tensors
        weight, bias = weight.detach().requires_grad_(), bias.detach().requires_grad_()
        totals = torch.zeros_like(weight), torch.zeros_like(bias)
        for clip, gradient in zip(waveform.split(1), gradients[0].split(1), strict=True):
            with torch.enable_grad():
                y = convolve_and_pool(clip, weight, bias, ctx.sizes)
            for total, part in zip(totals, torch.autograd.grad(y, (weight, bias), gradient.to(y.dtype)), strict=True):
                total += part
        return None, *totals, None, None


def clip_by_clip(waveform: Tensor, weight: Tensor, bias: Tensor, sizes: Sizes) -> Tensor:
    """`convolve_and_pool`, differentiable in weight and bias; in bfloat16 under autocast."""
    device = waveform.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else waveform.dtype
    return _ClipByClip.apply(waveform, weight, bias, sizes, dtype)  # type: ignore[no-any-return]
