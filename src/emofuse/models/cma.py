"""CMA: raw-waveform 1-D CNN, Bi-LSTMs, cross-modal attention and statistics pooling.

Krishna & Patil, "Multimodal Emotion Recognition using Cross-Modal Attention and 1D Convolutional
Neural Networks", Interspeech 2020. Equation numbers are the paper's.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from emofuse.errors import ConfigError
from emofuse.models.conv_block import ConvBlock, frames_left
from emofuse.models.layers import (
    PaddedLSTM,
    attention,
    check_sizes,
    encode_present,
    statistics_pooling,
)


@dataclass(frozen=True)
class CMAConfig:
    """Sizes of CMA; the defaults are the paper's.

    Attributes:
        n_classes: Number of emotions.
        modalities: ``("speech", "text")``, or one of them: the unimodal rows of Table 2.
        speech_input: ``waveform``, (batch, samples) at 16 kHz, or ``spectrogram``, (batch, frames, bins).
        n_bins: Channels of a spectrogram frame.
        filters: Output channels of the three convolutions.
        kernels: Kernel sizes of the three convolutions.
        conv_strides: Strides of the convolutions; None: 4 on a waveform, 1 on a spectrogram.
        pool_sizes: Max-pool windows; None: 4 on a waveform, 2 on a spectrogram.
        pool_strides: Max-pool strides; None: 2.
        word_dim: Size of a word vector.
        d_model: Width of the Bi-LSTM (each direction), of the attention and of its feed-forward layer.
        n_heads: Attention heads.
        n_blocks: Multi-head attention blocks in each of CMA-1 and CMA-2.
        dropout: After each Bi-LSTM.
        scale: ``sqrt`` divides the scores by sqrt(d_q) as Vaswani et al., ``linear`` by d_q as Eq. (5) prints it.
    """

    n_classes: int = 4
    modalities: tuple[str, ...] = ("speech", "text")
    speech_input: Literal["waveform", "spectrogram"] = "waveform"
    n_bins: int = 257
    filters: tuple[int, int, int] = (64, 100, 100)
    kernels: tuple[int, int, int] = (3, 5, 7)
    conv_strides: tuple[int, int, int] | None = None
    pool_sizes: tuple[int, int, int] | None = None
    pool_strides: tuple[int, int, int] | None = None
    word_dim: int = 300
    d_model: int = 100
    n_heads: int = 10
    n_blocks: int = 2
    dropout: float = 0.2
    scale: Literal["sqrt", "linear"] = "sqrt"

    def __post_init__(self) -> None:
        """Check what the constructor cannot express in types."""
        if not self.modalities or set(self.modalities) - {"speech", "text"}:
            raise ConfigError(f"modalities {self.modalities}: CMA takes speech, text or both")
        check_sizes(self, "n_classes", "d_model", "n_heads", "n_blocks")


class SpeechEncoder(nn.Module):
    """Waveform or spectrogram to H^A, Eq. (1)-(2)."""

    def __init__(self, config: CMAConfig) -> None:
        """Blocks after `config`."""
        super().__init__()
        raw = config.speech_input == "waveform"
        strides = config.conv_strides or ((4, 4, 4) if raw else (1, 1, 1))
        pools = config.pool_sizes or ((4, 4, 4) if raw else (2, 2, 2))
        pool_strides = config.pool_strides or (2, 2, 2)
        channels = (1 if raw else config.n_bins, *config.filters)
        self.is_raw = raw
        self.blocks = nn.ModuleList(
            ConvBlock(channels[i], channels[i + 1], config.kernels[i], strides[i], pools[i], pool_strides[i])
            for i in range(3)
        )
        self.lstm = PaddedLSTM(config.filters[-1], config.d_model, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Linear(2 * config.d_model, config.d_model)

    @property
    def least_steps(self) -> int:
        """Fewest samples or frames of which the convolutions leave anything."""
        n = 1
        for block in reversed(self.blocks):
            n = block.least_steps(n)  # type: ignore[operator]
        return n

    def forward(self, speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, samples) or (batch, frames, bins), (batch,) -> (batch, T, d_model), (batch,)."""
        x = (speech[:, None] if self.is_raw else speech.transpose(1, 2))[:, :, None]
        x = x.to(memory_format=torch.channels_last)
        frames_left(self.blocks, lengths)  # before the layers, which refuse a batch of short clips in torch's words
        for block in self.blocks:
            x, lengths = block(x, lengths)
        h_audio = self.lstm(x[:, :, 0].transpose(1, 2), lengths)
        return self.project(self.dropout(h_audio)), lengths


class TextEncoder(nn.Module):
    """Word vectors to H^T, Eq. (3)-(4)."""

    least_steps = 1

    def __init__(self, config: CMAConfig) -> None:
        """A kernel-1 convolution, a Bi-LSTM and a projection."""
        super().__init__()
        self.conv = nn.Conv1d(config.word_dim, config.d_model, kernel_size=1)
        self.lstm = PaddedLSTM(config.d_model, config.d_model, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Linear(2 * config.d_model, config.d_model)

    def forward(self, text: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, words, word_dim), (batch,) -> (batch, words, d_model), (batch,)."""
        f_text = self.conv(text.transpose(1, 2)).transpose(1, 2)
        h_text = self.lstm(f_text, lengths)
        return self.project(self.dropout(h_text)), lengths


class CrossModalBlock(nn.Module):
    """One multi-head attention block of Figure 2: layer norm, attention, feed-forward, with residuals."""

    def __init__(self, config: CMAConfig) -> None:
        """Width `d_model`, `n_heads` heads."""
        super().__init__()
        d = config.d_model
        self.n_heads = config.n_heads
        d_query = d // config.n_heads
        self.scale = 1 / math.sqrt(d_query) if config.scale == "sqrt" else 1 / d_query
        self.norm_query, self.norm_context, self.norm_feed = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.query, self.key, self.value, self.output = (nn.Linear(d, d) for _ in range(4))
        self.feed_forward = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d))

    def _heads(self, x: Tensor) -> Tensor:
        """(batch, time, d_model) -> (batch, heads, time, d_query)."""
        return x.unflatten(2, (self.n_heads, -1)).transpose(1, 2)

    def weights(self, x: Tensor, context: Tensor, context_mask: Tensor) -> Tensor:
        """What `forward` weighs the values with, averaged over the heads: (batch, n_q, n_k).

        Rows sum to 1, and to 0 where there is nothing to attend to.
        """
        q, k = self._heads(self.query(self.norm_query(x))), self._heads(self.key(self.norm_context(context)))
        scores = self.scale * q @ k.transpose(2, 3)
        valid = context_mask[:, None, None]
        return (scores.masked_fill(~valid, torch.finfo(scores.dtype).min).softmax(-1) * valid).mean(1)

    def forward(self, x: Tensor, context: Tensor, context_mask: Tensor) -> Tensor:
        """Query (batch, n_q, d), key and value (batch, n_k, d), mask (batch, n_k) -> (batch, n_q, d).

        Where a row of the mask is empty there is nothing to attend to: the residual and the feed-forward layer remain.
        """
        query, context = self.norm_query(x), self.norm_context(context)
        q, k, v = self._heads(self.query(query)), self._heads(self.key(context)), self._heads(self.value(context))
        there = context_mask.any(1)[:, None, None]
        mask = context_mask[:, None, None] | ~there[..., None]  # a row without any valid key would be NaN
        a = attention(q, k, v, mask, self.scale)  # Eq. (5)
        x = x + self.output(a.transpose(1, 2).flatten(2)) * there  # Eq. (6)
        return x + self.feed_forward(self.norm_feed(x))


class CMA(nn.Module):
    """Cross-modal attention over speech and words (Figure 1), or self-attention over one of them (Table 2).

    Where the paper is silent, we choose: convolution and pooling strides (see `CMAConfig`), scores
    divided by sqrt(d_q), pre-norm residual blocks, standard deviation (not variance) in the pooling.
    The spectrogram keeps stride 1 in its convolutions and pools by 2: the waveform's total stride of
    512 would leave 2 of a 10 s clip's 998 frames.

    Nor does it say what to do without words or without sound. A modality that an utterance lacks (length
    0, or the argument None for all) asks nothing and its statistics are zero; the other one has nothing
    to ask, so that of its attention blocks the residual and the feed-forward layer remain. Asking itself,
    as the unimodal rows do, would put frames through key and value layers that were fitted on words.
    """

    def __init__(self, config: CMAConfig) -> None:
        """Build the encoders that `config.modalities` names."""
        super().__init__()
        self.config = config
        modalities = config.modalities
        self.speech_encoder = SpeechEncoder(config) if "speech" in modalities else None
        self.text_encoder = TextEncoder(config) if "text" in modalities else None
        # CMA-1 (speech asks text) and CMA-2 (text asks speech); a single modality asks itself.
        self.attention = nn.ModuleDict(
            {m: nn.ModuleList(CrossModalBlock(config) for _ in range(config.n_blocks)) for m in modalities}
        )
        self.output = nn.Linear(2 * config.d_model * len(modalities), config.n_classes)

    def forward(
        self,
        speech: Tensor | None = None,
        speech_lengths: Tensor | None = None,
        text: Tensor | None = None,
        text_lengths: Tensor | None = None,
    ) -> Tensor:
        """Logits of utterances.

        Args:
            speech: (batch, samples) waveform or (batch, frames, bins) spectrogram, zero-padded; None: no sound.
            speech_lengths: (batch,) valid samples or frames; 0: no sound.
            text: (batch, words, word_dim), zero-padded; None: no words.
            text_lengths: (batch,) valid words; 0: none.

        Returns:
            (batch, n_classes).
        """
        return self._decide(*self._encode(speech, speech_lengths, text, text_lengths))

    def _decide(self, states: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
        """Logits from what the encoders gave."""
        pooled = []
        for modality in states:
            other = self._context_of(modality)
            x = states[modality]
            for block in self.attention[modality]:  # type: ignore[union-attr]
                x = block(x, states[other], masks[other])
            there = masks[modality].any(1, keepdim=True)
            pooled.append(statistics_pooling(x, masks[modality]) * there)  # Eq. (7)-(8)
        return self.output(torch.cat(pooled, dim=-1))

    def attention_received(self, **inputs: Tensor) -> dict[str, Tensor]:
        """How much attention each frame or word receives, of the same inputs as `forward`.

        The mean over heads, blocks and valid queries of the attention's weights.

        Returns:
            Modality to (batch, time); each row sums to 1 over its valid steps, or is 0 where nobody asks.
        """
        return self._received(*self._encode(**inputs))

    def explained(self, **inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`forward` and `attention_received`, of inputs that are encoded once."""
        encoded = self._encode(**inputs)
        return self._decide(*encoded), self._received(*encoded)

    def _received(self, states: dict[str, Tensor], masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """`attention_received` from what the encoders gave."""
        received: dict[str, Tensor] = {}
        for modality in states:
            other = self._context_of(modality)
            x, queries = states[modality], masks[modality].to(states[modality].dtype)
            total = torch.zeros_like(masks[other], dtype=x.dtype)
            for block in self.attention[modality]:  # type: ignore[union-attr]
                weights = block.weights(x, states[other], masks[other])  # type: ignore[operator]
                total = total + torch.einsum("bqk,bq->bk", weights, queries) / queries.sum(1, keepdim=True).clamp(min=1)
                x = block(x, states[other], masks[other])
            received[other] = total / self.config.n_blocks
        return received

    def _context_of(self, modality: str) -> str:
        """The modality that `modality` attends to: the other one; a single one itself."""
        return next((m for m in self.config.modalities if m != modality), modality)

    def _encode(
        self,
        speech: Tensor | None = None,
        speech_lengths: Tensor | None = None,
        text: Tensor | None = None,
        text_lengths: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """H^A and H^T by modality, and the masks of their valid steps."""
        states: dict[str, Tensor] = {}
        masks: dict[str, Tensor] = {}
        n_rows = next(x.shape[0] for x in (speech, text) if x is not None)
        empty = self.output.weight.new_zeros(n_rows, 1, self.config.d_model)
        if self.speech_encoder is not None:
            states["speech"], masks["speech"] = encode_present(self.speech_encoder, speech, speech_lengths, empty)
        if self.text_encoder is not None:
            states["text"], masks["text"] = encode_present(self.text_encoder, text, text_lengths, empty)
        return states, masks
