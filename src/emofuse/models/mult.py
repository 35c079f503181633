"""MulT: every modality attends to every other one across the whole conversation.

Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language Sequences", ACL 2019. Names
in quotes are headings of the paper. There, a step is a word, a picture or a sound frame; here, an
utterance of a conversation. With `context` ``both`` nothing is masked, as in the paper's formula, and an
utterance's logits depend on the future: such a system cannot stream.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emofuse.errors import ConfigError
from emofuse.models.conversation import Context, ConversationConfig, context_mask, masked_softmax, visible


@dataclass(frozen=True)
class MulTConfig(ConversationConfig):
    """Sizes of MulT; the defaults are close to the paper's, whose Table 5 has a set for each data set.

    There, each modality has a kernel width of its own; here, one is for all of them.
    `dropout` is on the positions' sum, in the blocks and before the logits.

    Attributes:
        d_model: Width that the modalities are convolved to.
        n_heads: Attention heads; they divide `d_model`.
        n_blocks: Blocks of each transformer.
        kernel: Width of the temporal convolution, in utterances; odd.
        context: ``past``: convolution and attention see the utterances so far. The authors' code masks the future
            in all attention unless it is told not to.
    """

    d_model: int = 40
    n_heads: int = 10
    n_blocks: int = 4
    kernel: int = 3
    context: Context = "both"

    def __post_init__(self) -> None:
        """Check what the constructor cannot express in types."""
        super().__post_init__()
        self.need_two_modalities()
        if self.d_model % self.n_heads or self.d_model % 2:
            raise ConfigError(f"d_model {self.d_model} is not an even multiple of n_heads {self.n_heads}")
        if self.kernel % 2 == 0:
            raise ConfigError(f"kernel is {self.kernel}, need an odd number")


class TemporalConvolution(nn.Module):
    """Conv1d to a common width ("Temporal Convolutions"), centred or looking back."""

    def __init__(self, n_input: int, config: MulTConfig) -> None:
        """`n_input` to `config.d_model` channels."""
        super().__init__()
        self.conv = nn.Conv1d(n_input, config.d_model, config.kernel, bias=False)
        n = config.kernel - 1
        self.padding = (n, 0) if config.context == "past" else (n // 2, n // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, utterances, n_input) -> (batch, utterances, d_model)."""
        return self.conv(F.pad(x.transpose(1, 2), self.padding)).transpose(1, 2)


def positions(n_steps: int, d_model: int) -> Tensor:
    """Sinusoidal "Positional Embedding": (n_steps, d_model), sine at even, cosine at odd channels."""
    rate = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10_000) / d_model))
    angle = torch.arange(n_steps)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class Block(nn.Module):
    """Layer norm, multi-head attention to a context, feed-forward, with residuals ("Crossmodal Transformers")."""

    def __init__(self, d_model: int, config: MulTConfig) -> None:
        """Width `d_model`, which is that of what is asked too."""
        super().__init__()
        self.n_heads = config.n_heads
        self.norm, self.norm_feed = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.query, self.value, self.output = (nn.Linear(d_model, d_model) for _ in range(3))
        self.key = nn.Linear(d_model, d_model, bias=False)  # the softmax cancels a bias of the keys
        self.dropout = nn.Dropout(config.dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(d_model, 4 * d_model), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(4 * d_model, d_model)
        )

    def _heads(self, x: Tensor) -> Tensor:
        """(batch, utterances, d_model) -> (batch, heads, utterances, d_k)."""
        return x.unflatten(2, (self.n_heads, -1)).transpose(1, 2)

    def attend(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """CM of "Crossmodal Attention", all heads: (batch, n, d), (batch, n, d), (batch, n, n) -> (batch, n, d)."""
        q, k, v = self._heads(self.query(x)), self._heads(self.key(context)), self._heads(self.value(context))
        weights = masked_softmax(q @ k.transpose(2, 3) / math.sqrt(k.shape[-1]), mask[:, None])
        return self.output((weights @ v).transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """As `attend`; `context` is `x` itself for self-attention."""
        x = x + self.dropout(self.attend(self.norm(x), self.norm(context), mask))
        return x + self.dropout(self.feed_forward(self.norm_feed(x)))


class Transformer(nn.Module):
    """Blocks and a last layer norm: cross-modal when it is given a context, else self-attention."""

    def __init__(self, d_model: int, config: MulTConfig) -> None:
        """`config.n_blocks` blocks of width `d_model`."""
        super().__init__()
        self.blocks = nn.ModuleList(Block(d_model, config) for _ in range(config.n_blocks))
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor, mask: Tensor, context: Tensor | None = None) -> Tensor:
        """(batch, n, d), (batch, n, n), (batch, n, d) -> (batch, n, d); every block asks the first `context`."""
        for block in self.blocks:
            x = block(x, x if context is None else context, mask)
        return self.norm(x)


class MulT(nn.Module):
    """Pairwise cross-modal transformers, self-attention over what each target gathered, logits.

    Where the paper is silent, we choose: residuals around the layer norms, one norm for both sides
    of a block, Z^[0] with the features times sqrt(d) and a residual dense layer before the logits, as the
    authors' code has them (the paper's block adds the normalised input). Every utterance keeps its own step
    instead of the last one's. A missing modality is a row of zeros that is not asked.

    How this differs from the authors' code (yaohungt/Multimodal-Transformer):

    * it masks the future in every transformer by default, the self-attention over what was gathered included;
      here `MulTConfig.context` decides for all of them;
    * its self-attention transformers have at least three blocks, and scale their input and add positions to it
      once more; here they have `n_blocks`, and positions are in Z^[0] alone;
    * its defaults are five blocks of five heads of width 30, and a convolution of kernel 1, left out where the
      features have that width already; ours are near the paper's Table 5;
    * it drops attention weights, by modality, and the text before its convolution; one dropout stands for all
      of its here, at the places that `MulTConfig` names.
    """

    def __init__(self, config: MulTConfig) -> None:
        """Modalities are those of `config.feature_dims`."""
        super().__init__()
        d, dims = config.d_model, config.feature_dims
        self.modalities = tuple(dims)
        self.context: Context = config.context
        self.pairs = [(target, source) for target in dims for source in dims if source != target]
        self.convolution = nn.ModuleDict({m: TemporalConvolution(dim, config) for m, dim in dims.items()})
        self.cross = nn.ModuleDict({f"{source}-to-{target}": Transformer(d, config) for target, source in self.pairs})
        n_gathered = d * (len(dims) - 1)
        self.memory = nn.ModuleDict({m: Transformer(n_gathered, config) for m in dims})
        n_all = n_gathered * len(dims)
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Sequential(
            nn.Linear(n_all, n_all), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(n_all, n_all)
        )
        self.output = nn.Linear(n_all, config.n_classes)

    def forward(self, lengths: Tensor, present: Tensor | None = None, **features: Tensor) -> Tensor:
        """(batch,), modality=(batch, utterances, dim) -> (batch, utterances, n_classes); `present` as in `visible`."""
        z = {m: self.convolution[m](x) for m, x in visible(features, self.modalities, lengths, present).items()}
        n_steps, d_model = next(iter(z.values())).shape[1:]
        place = positions(n_steps, d_model).to(next(iter(z.values())))
        z = {m: self.dropout(math.sqrt(d_model) * x + place) for m, x in z.items()}  # Z^[0], scaled as in their code
        masks = {}
        for i, m in enumerate(self.modalities):
            there = None if present is None else present[..., i]
            masks[m] = context_mask(lengths, z[m], self.context, there)
        everyone = context_mask(lengths, z[self.modalities[0]], self.context)
        gathered = []
        for target in self.modalities:
            sources = [source for t, source in self.pairs if t == target]
            crossed = [self.cross[f"{s}-to-{target}"](z[target], masks[s], z[s]) for s in sources]
            gathered.append(self.memory[target](torch.cat(crossed, dim=-1), everyone))
        h = torch.cat(gathered, dim=-1)
        return self.output(self.dense(h) + h)
