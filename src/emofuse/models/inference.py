"""Trained networks as they are run: the same logits, sooner.

CMA's convolutions are bound by memory when they are run layer after layer over a padded batch: the first one alone
makes 64 values of every four samples. Here the batch norm is folded into the convolution, each clip is computed by
itself and without padding, a stretch of time that fits into the cache at once, and in bfloat16 where the processor
computes in it.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from emofuse.errors import ConfigError
from emofuse.models.cma import CMA, SpeechEncoder
from emofuse.models.conv_block import ConvBlock, frames_left
from emofuse.models.layers import PaddedLSTM

Precision = Literal["auto", "float32", "bfloat16"]
Result = TypeVar("Result")

BLOCK_BYTES = 2**19
"""Of a convolution's output that is computed at once: half of the second-level cache of today's cores."""

ROWS_AT_ONCE = 8
"""Clips that go through the recurrent layers and the attention together, of similar length: more are not quicker."""


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 at least as fast as float32 (AVX512-BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def for_inference(model: nn.Module, precision: Precision = "auto") -> nn.Module:
    """A copy of a network that gives its logits sooner, on a CPU; a network that has no such copy, as it is.

    Args:
        model: As `emofuse.models.build` makes it, trained; it is not changed.
        precision: Of CMA's convolutions and its speech LSTM: ``auto`` is bfloat16 where the processor computes in it.
            Then logits differ from those of float32 in the second or third decimal.

    Raises:
        ConfigError: The precision is unknown.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise ConfigError(f"precision {precision!r}; known: auto, float32, bfloat16")
    if not isinstance(model, CMA) or isinstance(model, InferenceCMA) or next(model.parameters()).is_cuda:
        return model
    use_bfloat16 = precision == "bfloat16" or (precision == "auto" and has_bfloat16())
    return InferenceCMA(model, torch.bfloat16 if use_bfloat16 else torch.float32)


class FoldedBlock(nn.Module):
    """A `ConvBlock` with its batch norm folded in, of one clip of any length.

    A convolution of stride s is the sum of ceil(kernel / s) matrix products: the s steps under one output step lie
    behind one another in memory, so that the input, seen as rows of s steps, needs no copy. The pooling follows
    before the bias and the ReLU: both are monotone.
    """

    bias: Tensor

    def __init__(self, block: ConvBlock, dtype: torch.dtype) -> None:
        """Fold `block`, in evaluation mode, and round it to `dtype`."""
        super().__init__()
        norm, conv = block.norm, block.conv
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert conv.bias is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = (conv.weight * scale[:, None, None]).permute(2, 1, 0).detach()  # (kernel, channels in, channels out)
        self.kernel, self.n_input, self.n_output = weight.shape
        self.stride, self.pool_size, self.pool_stride = block.stride, block.pool_size, block.pool_stride
        self.n_taps = range(0, self.kernel, self.stride)
        for tap in self.n_taps:
            part = weight[tap : tap + self.stride].reshape(-1, self.n_output)
            self.register_buffer(f"weight{tap}", part.to(dtype).contiguous())
        bias = (conv.bias - norm.running_mean) * scale + norm.bias
        self.register_buffer("bias", bias.detach().to(dtype))
        self.block_steps = max(BLOCK_BYTES // (self.n_output * self.bias.element_size()), 8 * self.pool_size)

    def forward(self, x: Tensor) -> Tensor:
        """(time, channels) -> (fewer, filters)."""
        half = self.kernel // 2
        n_convolved = (len(x) + 2 * half - self.kernel) // self.stride + 1
        n_pooled = (n_convolved - self.pool_size) // self.pool_stride + 1
        needed = (n_convolved + len(self.n_taps) - 1) * self.stride
        x = F.pad(x, (0, 0, half, max(needed - len(x) - half, 0)))
        output = x.new_empty(n_pooled, self.n_output)
        step = max((self.block_steps - self.pool_size) // self.pool_stride, 1)
        for start in range(0, n_pooled, step):
            stop = min(start + step, n_pooled)
            first, last = start * self.pool_stride, (stop - 1) * self.pool_stride + self.pool_size
            y = _max_pool(self._convolve(x, first, last), self.pool_size, self.pool_stride)
            torch.add(y, self.bias, out=output[start:stop])
        return output.relu_()

    def _convolve(self, x: Tensor, first: int, last: int) -> Tensor:
        """Steps `first` to `last` of the convolution without its bias, of padded (time, channels)."""
        y: Tensor | None = None
        for tap in self.n_taps:
            weight: Tensor = getattr(self, f"weight{tap}")
            start = (first * self.stride + tap) * self.n_input
            rows = x.as_strided((last - first, len(weight)), (self.stride * self.n_input, 1), start)
            y = rows @ weight if y is None else torch.addmm(y, rows, weight, out=y)
        assert y is not None
        return y


def _max_pool(y: Tensor, size: int, stride: int) -> Tensor:
    """(time, channels) -> (fewer, channels): the maximum of windows of `size` steps, `stride` apart."""
    if size % stride == 0:  # of stretches that windows share, once for all of them
        n = len(y) // stride
        shared = _maximum(y[i : n * stride : stride] for i in range(stride))
        n_windows = n - size // stride + 1
        return _maximum(shared[i : i + n_windows] for i in range(size // stride))
    n_windows = (len(y) - size) // stride + 1
    return _maximum(y[i : i + (n_windows - 1) * stride + 1 : stride] for i in range(size))


def _maximum(parts: Iterator[Tensor]) -> Tensor:
    result = next(parts)
    for part in parts:
        result = torch.maximum(result, part)
    return result


class InferenceSpeechEncoder(nn.Module):
    """A `SpeechEncoder` in evaluation mode: clip by clip through the convolutions, then together through the LSTM."""

    def __init__(self, encoder: SpeechEncoder, dtype: torch.dtype) -> None:
        """Weights of `encoder`, rounded to `dtype` in its blocks and its LSTM."""
        super().__init__()
        self.is_raw, self.dtype = encoder.is_raw, dtype
        self.original_blocks = [block for block in encoder.blocks if isinstance(block, ConvBlock)]
        self.blocks = nn.ModuleList(FoldedBlock(block, dtype) for block in self.original_blocks)
        self.lstm: PaddedLSTM = copy.deepcopy(encoder.lstm).to(dtype)
        self.project = copy.deepcopy(encoder.project)

    def forward(self, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, samples) or (batch, frames, bins), (batch,) -> (batch, T, d_model), (batch,)."""
        n_frames = frames_left(self.original_blocks, lengths)
        clips = []
        for clip, length in zip(speech, lengths.tolist(), strict=True):
            x = clip[:length].to(self.dtype)
            x = x[:, None] if self.is_raw else x
            for block in self.blocks:
                x = block(x)
            clips.append(x)
        return self.project(self.lstm(pad_sequence(clips, batch_first=True), n_frames).float()), n_frames


class InferenceCMA(CMA):
    """CMA in evaluation mode; see `for_inference`.

    Rows of similar length are computed together, `ROWS_AT_ONCE` at most, and such groups side by side in as many
    threads as torch may use, each operation in one: threads that share one small operation wait for each other, and
    very long when another process wants the core.
    """

    def __init__(self, model: CMA, dtype: torch.dtype) -> None:
        """A copy of `model`."""
        nn.Module.__init__(self)
        self.config, self.dtype = model.config, dtype
        encoder = model.speech_encoder
        self.speech_encoder = None if encoder is None else InferenceSpeechEncoder(encoder, dtype)  # type: ignore[assignment]
        for name in ("text_encoder", "attention", "output"):
            setattr(self, name, copy.deepcopy(getattr(model, name)))
        self.eval().requires_grad_(False)

    def forward(
        self,
        speech: Tensor | None = None,
        speech_lengths: Tensor | None = None,
        text: Tensor | None = None,
        text_lengths: Tensor | None = None,
    ) -> Tensor:
        """Logits (batch, n_classes) of utterances; see `CMA.forward`."""
        given = {"speech": (speech, speech_lengths), "text": (text, text_lengths)}
        inputs = {m: (x, n) for m, (x, n) in given.items() if x is not None and n is not None}
        lengths = next(iter(inputs.values()))[1]  # of the speech if there is any: it takes the time
        order = lengths.argsort(descending=True)
        size = min(ROWS_AT_ONCE, -(-len(order) // torch.get_num_threads()))
        logits = torch.cat(_side_by_side([self._of_rows(inputs, rows) for rows in order.split(size)]))
        return torch.empty_like(logits).index_copy_(0, order, logits)

    def explained(self, **inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `CMA.explained`: all rows together, in one thread."""
        return _side_by_side([lambda: CMA.explained(self, **inputs)])[0]

    def _of_rows(self, inputs: dict[str, tuple[Tensor, Tensor]], rows: Tensor) -> Callable[[], Tensor]:
        """What computes the logits of some rows, padded no further than the longest of them needs."""

        def compute() -> Tensor:
            some: dict[str, Tensor] = {}
            for modality, (x, lengths) in inputs.items():
                n = lengths[rows]
                some |= {modality: x[rows, : max(int(n.max()), 1)], f"{modality}_lengths": n}
            return CMA.forward(self, **some)

        return compute


def _side_by_side(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """The tasks' results, computed in as many threads as torch may use here, one thread each."""
    n_threads = torch.get_num_threads()
    inference = torch.is_inference_mode_enabled()

    def run(task: Callable[[], Result]) -> Result:
        with torch.inference_mode(inference), torch.no_grad():  # both are a thread's own
            return task()

    try:
        torch.set_num_threads(1)
        if len(tasks) == 1 or n_threads == 1:
            return [run(task) for task in tasks]
        with ThreadPoolExecutor(min(n_threads, len(tasks)), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(run, tasks))
    finally:
        torch.set_num_threads(n_threads)
