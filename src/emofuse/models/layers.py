"""Building blocks that both papers share: masks, padded recurrence, masked normalisation and pooling."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from emofuse.errors import ConfigError


def check_sizes(config: Any, *names: str) -> None:
    """Refuse a configuration whose fields `names` are below 1, or whose dropout or heads cannot be.

    Raises:
        ConfigError: Naming the field.
    """
    for name in names:
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} is {getattr(config, name)}, need at least 1")
    if not 0 <= getattr(config, "dropout", 0) < 1:
        raise ConfigError(f"dropout is {config.dropout}, need 0 or more and less than 1")
    if "n_heads" in names and config.d_model % config.n_heads:
        raise ConfigError(f"d_model {config.d_model} is not a multiple of n_heads {config.n_heads}")


def on_device(lengths: Tensor, device: torch.device) -> Tensor:
    """Lengths where a batch is; as they are if they are there: a traced graph gets no node that does nothing."""
    return lengths if lengths.device == device else lengths.to(device, non_blocking=True)


def length_mask(lengths: Tensor, n_steps: int, device: torch.device | None = None) -> Tensor:
    """(batch,) -> (batch, n_steps), True where a step is valid; on a device, None: that of the lengths.

    Lengths may stay in the memory of the processor while a batch is on a GPU: what depends on them, such as whether
    anything is padded, is then known without waiting for the GPU.
    """
    lengths = on_device(lengths, device or lengths.device)
    return torch.arange(n_steps, device=lengths.device)[None, :] < lengths[:, None]


def zero_missing(x: Tensor, present: Tensor | None) -> Tensor:
    """(batch, utterances, dim), (batch, utterances) or None -> x with zeros where a modality is missing."""
    return x if present is None else x.masked_fill(~present[..., None], 0)


def encode_present(
    encoder: nn.Module, x: Tensor | None, lengths: Tensor | None, empty: Tensor
) -> tuple[Tensor, Tensor]:
    """An encoder over the rows that have the modality; the others get zero states without a valid step.

    (batch, time, ...) or None, (batch,), zeros (batch, 1, d_model) -> (batch, T, d_model), (batch, T).
    """
    if torch.onnx.is_in_onnx_export() and x is not None and lengths is not None:
        # A graph has one path for every batch: rows without the modality are encoded as if there were a little of it.
        states, n_steps = encoder(x, lengths.clamp(min=encoder.least_steps))  # type: ignore[arg-type]
        there = (lengths > 0)[:, None]
        return states * there[..., None], length_mask(n_steps, states.shape[1]) & there
    batch_size = len(empty)
    if x is None or lengths is None or not bool(lengths.any()):
        return empty, torch.zeros(batch_size, 1, dtype=torch.bool, device=empty.device)
    rows = lengths.nonzero()[:, 0]
    if len(rows) < batch_size:
        lengths, rows = lengths[rows], rows.to(x.device, non_blocking=True)
        x = x[rows]
    states, n_steps = encoder(x, lengths)
    mask = length_mask(n_steps, states.shape[1], states.device)
    if len(rows) < batch_size:
        states = states.new_zeros(batch_size, *states.shape[1:]).index_copy(0, rows, states)
        mask = mask.new_zeros(batch_size, mask.shape[1]).index_copy(0, rows, mask)
    return states, mask


@torch.no_grad()
def track_statistics(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics of `norm` towards a batch's mean and unbiased variance, (channels,) each."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    momentum = norm.momentum if norm.momentum is not None else 0.1
    norm.num_batches_tracked += 1
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance, momentum)


class _SumOverRanks(torch.autograd.Function):
    """The sum of what every process has, in every process; so a value's gradient is the sum of all their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return sum_over_ranks(gradients[0])


def sum_over_ranks(x: Tensor) -> Tensor:
    """A tensor summed over the processes that train together, differentiably; the same shape in all of them.

    As `torch.distributed.nn.functional.all_reduce`, which torch has deprecated for functions that it keeps private.
    """
    total = _SumOverRanks.apply(x)
    assert isinstance(total, Tensor)
    return total


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose statistics can be of the batches of all processes that train together.

    As `nn.SyncBatchNorm`, which takes no mask and works on GPUs alone.

    Attributes:
        over_ranks: In training, take the statistics over all processes of `torch.distributed`. Each must then call
            the same layers in the same order.
    """

    over_ranks = False

    def forward(self, input: Tensor) -> Tensor:
        """(batch, channels, height, width) -> the same."""
        return self.over_all(input, None) if self.training and self.over_ranks else super().forward(input)

    def over_all(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Training over all processes: (batch, channels, 1, time), (batch, time) or None for all -> as x."""
        counted = x.new_ones(()) if mask is None else mask[:, None, None].to(x.dtype)
        n_here = x.new_tensor(x.numel() / x.shape[1]) if mask is None else mask.sum()
        n = sum_over_ranks(n_here.float()[None])
        mean = sum_over_ranks((x * counted).float().sum((0, 2, 3))) / n
        centred = x - mean[:, None, None]
        variance = sum_over_ranks((centred.square() * counted).sum((0, 2, 3))) / n
        scale = self.weight * torch.rsqrt(variance + self.eps)
        track_statistics(self, mean, variance * n / (n - 1).clamp(min=1))
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def masked_batch_norm(norm: nn.BatchNorm2d, x: Tensor, lengths: Tensor) -> Tensor:
    """Batch normalisation over valid steps only: (batch, channels, 1, time), (batch,) -> as x.

    In training, padded steps would shift the batch statistics, so that a clip's logits depended on
    how long its neighbours are.

    Of N steps, n are valid. With the padded ones set to the valid mean, the mean over all steps is
    the valid one and the variance is n/N of it, so that the library's own kernel with `eps` and
    weight scaled gives the masked normalisation exactly, at half the time of gathering valid steps.

    `x` is four-dimensional so that it can be in torch's channels-last layout; see `CMA`'s blocks.
    """
    if norm.training and isinstance(norm, GlobalBatchNorm2d) and norm.over_ranks:
        return norm.over_all(x, length_mask(lengths, x.shape[3], x.device))
    if not norm.training or int(lengths.min()) == x.shape[3]:
        return norm(x)
    mask = length_mask(lengths, x.shape[3], x.device)
    n, n_all = int(lengths.sum()), mask.numel()
    mean = mask.flatten().to(x.dtype) @ x.permute(0, 2, 3, 1).flatten(0, 2) / n
    x = torch.where(mask[:, None, None], x, mean[:, None, None])
    batch_mean, batch_var = torch.zeros_like(norm.bias), torch.zeros_like(norm.bias)
    weight = norm.weight * math.sqrt(n / n_all)
    y = F.batch_norm(x, batch_mean, batch_var, weight, norm.bias, True, momentum=1.0, eps=norm.eps * n / n_all)
    track_statistics(norm, batch_mean, batch_var * (n_all - 1) / max(n - 1, 1))
    return y


def statistics_pooling(x: Tensor, mask: Tensor, eps: float = 1e-6) -> Tensor:
    """Mean and (population) standard deviation over valid steps, CMA Eq. (7)-(8).

    (batch, time, channels), (batch, time) -> (batch, 2 * channels).

    `eps` stands under the square root: the gradient of the root is infinite at a variance of zero.
    """
    weights = mask[..., None].to(x.dtype)
    n = weights.sum(1).clamp(min=1)
    mean = (x * weights).sum(1) / n
    variance = ((x - mean[:, None]) ** 2 * weights).sum(1) / n
    return torch.cat([mean, torch.sqrt(variance + eps)], dim=-1)


Memory = dict[nn.Module, tuple[Tensor, Tensor]]
"""The states (h, c) in which the LSTMs of a model have stopped, to go on from there when more of a sequence comes."""


class PaddedLSTM(nn.LSTM):
    """A batch-first LSTM over padded sequences; a backward direction starts at each sequence's own end."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bidirectional: bool = False) -> None:
        """Sizes as `torch.nn.LSTM`."""
        super().__init__(input_size, hidden_size, num_layers, batch_first=True, bidirectional=bidirectional)

    def forward(self, x: Tensor, lengths: Tensor, memory: Memory | None = None) -> Tensor:  # type: ignore[override]
        """(batch, time, channels), (batch,) -> (batch, time, n_directions * hidden); padded steps are zero.

        With `memory` the sequences go on where those of the last call with it ended, and nothing in `x` may be
        padding. The states in it are replaced, not changed: a shallow copy keeps what was.
        """
        mask = length_mask(lengths, x.shape[1], x.device)
        if not self.bidirectional:  # the past cannot see the padding behind it, so packing buys nothing
            output, state = super().forward(x, None if memory is None else memory.get(self))
            if memory is not None:
                memory[self] = state
            return output * mask[..., None]
        if memory is not None:
            raise ValueError("an LSTM of both directions cannot go on from a memory: its past depends on its future")
        if x.is_cuda:  # cuDNN has a kernel for packed sequences
            return self.packed(x, lengths)
        # On a CPU packed sequences take three times as long as two passes, one over the sequences turned round.
        lengths = on_device(lengths, x.device)
        steps = torch.arange(x.shape[1], device=x.device)[None]
        turned = torch.where(mask, lengths[:, None] - 1 - steps, steps)[..., None]
        for forth, back in zip(self.all_weights[::2], self.all_weights[1::2], strict=True):
            y = self._one_direction(x, forth)
            z = self._one_direction(x.gather(1, turned.expand(-1, -1, x.shape[2])), back)
            x = torch.cat([y, z.gather(1, turned.expand(-1, -1, z.shape[2]))], dim=-1)
        return x * mask[..., None]

    def packed(self, x: Tensor, lengths: Tensor) -> Tensor:
        """What `forward` gives, by torch's packed sequences, which are sorted here: torch would wait for the GPU."""
        order = lengths.argsort(descending=True)
        rows, back = (index.to(x.device, non_blocking=True) for index in (order, order.argsort()))
        packed = pack_padded_sequence(x[rows], lengths[order].cpu(), batch_first=True)
        output, _ = super().forward(packed)
        return pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])[0][back]

    def _one_direction(self, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """(batch, time, channels) -> (batch, time, hidden) by one direction's weights."""
        start = x.new_zeros(1, x.shape[0], self.hidden_size)
        return torch.lstm(x, (start, start), list(weights), True, 1, 0.0, self.training, False, True)[0]


def classifier_head(n_input: int, n_hidden: int, n_classes: int, dropout: float) -> nn.Sequential:
    """Linear, ReLU, dropout, Linear to logits: the dense layers that end a cLSTM block."""
    return nn.Sequential(nn.Linear(n_input, n_hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(n_hidden, n_classes))


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """softmax(scale * Q K^T) V over valid keys.

    (..., n_q, d), (..., n_k, d), (..., n_k, d_v), mask (..., n_q or 1, n_k) -> (..., n_q, d_v).
    """
    if query.is_cpu and torch.is_grad_enabled():
        return _attention_in_training(query, key, value, mask, scale)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def _attention_in_training(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """`attention` whose gradient torch's kernel for CPUs computes fast.

    With heads of any other width than a multiple of 16 it takes twice the time, and in bfloat16 three times. Zeros
    behind a query and its keys add nothing to their products.
    """
    with torch.autocast("cpu", enabled=False):
        wide = [x if x.dtype == torch.float64 else x.float() for x in (query, key, value)]
        q, k, v = (F.pad(x, (0, -x.shape[-1] % 16)) for x in wide)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)[..., : value.shape[-1]]
