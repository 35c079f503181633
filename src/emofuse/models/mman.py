"""MMAN and its baselines: contextual LSTMs over a conversation, attention across modalities, hybrid fusion.

Pan et al., "Multi-modal Attention for Speech Emotion Recognition", Interspeech 2020. Equation
numbers are the paper's. As in the paper, every system is causal: an utterance's logits depend on it
and the past. `MMANConfig.context` takes the past away or adds the future, to measure what they are worth.

The paper's utterances have all modalities. Where it is silent on a missing one, we choose: `present`,
(batch, utterances, n_modalities) in the order of `MMANConfig.feature_dims`, says what is there, and
what stands in the rows of a missing modality never counts. A concatenation has zeros there, the
training mean of standardised features; attention neither asks nor is asked; a fusion of class
probabilities takes the mean of the parts that do have a modality for those that do not.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emofuse.errors import ConfigError
from emofuse.models.layers import Memory, PaddedLSTM, classifier_head, zero_missing
from emofuse.models.staged import StagedFusion

MODALITIES = ("speech", "visual", "text")

N_TURNS = 2
"""Numbers that tell of an utterance who speaks."""


@dataclass(frozen=True)
class MMANConfig:
    """Sizes of the cLSTM family; the defaults are those that give the paper's Table 2.

    Attributes:
        n_classes: Number of emotions.
        feature_dims: Modality to the size of its utterance vector; its order is the order of fusion.
        d_model: Width that the modalities are standardised to in cLSTM-MMA.
        n_hidden: LSTM state.
        n_dense: Dense layer between LSTM and logits.
        dropout: On the LSTM's input, on its output and before the logits.
        input_dropout: On the LSTM's input, where it is another one; None: `dropout`.
        attention: ``dot`` is Eq. (4); ``cosine`` scores exist as an ablation.
        context: ``past`` is the paper's. ``both``: a second direction from the end of the dialogue, so
            that it has to be over before any of it can be judged. ``none``: every utterance alone.
        turns: Whether the LSTM is told who speaks, see `batching.speaker_turns`; not in the paper.
    """

    n_classes: int = 4
    feature_dims: dict[str, int] = field(default_factory=lambda: {"speech": 100, "visual": 512, "text": 100})
    d_model: int = 150
    n_hidden: int = 300
    n_dense: int = 200
    dropout: float = 0.2
    input_dropout: float | None = None
    attention: Literal["dot", "cosine"] = "dot"
    context: Literal["past", "both", "none"] = "past"
    turns: bool = False

    def __post_init__(self) -> None:
        """Check the modalities and the sizes."""
        unknown = set(self.feature_dims) - set(MODALITIES)
        if not self.feature_dims or unknown:
            raise ConfigError(f"feature_dims {self.feature_dims}: modalities are {', '.join(MODALITIES)}")
        for name in ("n_classes", "d_model", "n_hidden", "n_dense"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, need at least 1")
        for name in ("dropout", "input_dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ConfigError(f"{name} is {value}, need 0 or more and less than 1")


class ContextualLSTM(nn.Module):
    """The cLSTM block: LSTM layers over the utterances of a conversation, then two dense layers."""

    def __init__(self, n_input: int, n_layers: int, config: MMANConfig) -> None:
        """`n_layers` layers of `config.n_hidden`, one-directional unless the context is ``both``."""
        super().__init__()
        self.input_dropout = nn.Dropout(config.dropout if config.input_dropout is None else config.input_dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.turns, self.alone = config.turns, config.context == "none"
        both = config.context == "both"
        self.lstm = PaddedLSTM(n_input + N_TURNS * config.turns, config.n_hidden, n_layers, both)
        n_output = config.n_hidden * (2 if both else 1)
        self.head = classifier_head(n_output, config.n_dense, config.n_classes, config.dropout)

    def forward(self, x: Tensor, lengths: Tensor, turns: Tensor | None = None, memory: Memory | None = None) -> Tensor:
        """(batch, utterances, n_input), (batch,), (batch, utterances, N_TURNS) -> (batch, utterances, n_classes).

        Without `turns` every speaker counts as unknown. `memory`: see `PaddedLSTM`.
        """
        x = self.input_dropout(x)
        if self.turns:
            x = torch.cat([x, x.new_zeros(*x.shape[:2], N_TURNS) if turns is None else turns], dim=-1)
        return self.head(self.dropout(self._in_context(x, lengths, memory)))

    def _in_context(self, x: Tensor, lengths: Tensor, memory: Memory | None) -> Tensor:
        """(batch, utterances, n_input) -> (batch, utterances, n_output)."""
        if not self.alone:
            return self.lstm(x, lengths, memory)
        every = x.flatten(0, 1)[:, None]  # each utterance a dialogue of its own
        return self.lstm(every, lengths.new_ones(every.shape[0])).reshape(*x.shape[:2], -1)


class EarlyFusion(nn.Module):
    """cLSTM-Speech, -Visual, -Text (one modality) and cLSTM-EF (their concatenation): two LSTM layers."""

    def __init__(self, config: MMANConfig, modalities: tuple[str, ...]) -> None:
        """Concatenate `modalities` in the order of `config.feature_dims`."""
        super().__init__()
        self.columns = {m: i for i, m in enumerate(config.feature_dims) if m in modalities}
        self.block = ContextualLSTM(sum(config.feature_dims[m] for m in modalities), 2, config)

    def forward(
        self, lengths: Tensor, present: Tensor | None = None, memory: Memory | None = None, **features: Tensor
    ) -> Tensor:
        """Logits of the utterances of conversations.

        Args:
            lengths: (batch,) utterances.
            present: (batch, utterances, n_modalities), True where a modality is there; None: all of them.
            memory: What the utterances before have left, of conversations that go on; see `PaddedLSTM`.
            features: Modality to (batch, utterances, dim).

        Returns:
            (batch, utterances, n_classes).
        """
        x = [zero_missing(features[m], None if present is None else present[..., i]) for m, i in self.columns.items()]
        return self.block(torch.cat(x, dim=-1), lengths, features.get("turns"), memory)


class MultiModalAttention(nn.Module):
    """Directional attention from each modality's query to all modalities of the same utterance."""

    def __init__(self, d_model: int, n_modalities: int, kind: Literal["dot", "cosine"]) -> None:
        """One query, key and value projection a modality; keys and values are shared by the directions."""
        super().__init__()
        self.query, self.key, self.value = (
            nn.ModuleList(nn.Linear(d_model, d_model) for _ in range(n_modalities)) for _ in range(3)
        )
        self.kind = kind

    def weights(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """(..., n_modalities, d_model) -> (..., n_modalities asking, n_modalities asked), rows sum to 1.

        With `present`, (..., n_modalities), the softmax is over what is there; rows of the missing are 0.
        """
        q = torch.stack([layer(x[..., i, :]) for i, layer in enumerate(self.query)], dim=-2)  # Eq. (1)
        k = torch.stack([layer(x[..., i, :]) for i, layer in enumerate(self.key)], dim=-2)  # Eq. (2)
        if self.kind == "cosine":
            scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2)
        else:
            scores = q @ k.transpose(-1, -2) / math.sqrt(k.shape[-1])
        if present is None:
            return scores.softmax(dim=-1)
        # A finite score, since a row of infinite ones alone (an utterance without any modality) would be NaN.
        scores = scores.masked_fill(~present[..., None, :], torch.finfo(scores.dtype).min)
        return scores.softmax(dim=-1) * (present[..., None, :] & present[..., :, None])

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """(..., n_modalities, d_model) -> the same shape: attended values plus the skip connection.

        With `present`, (..., n_modalities), rows of the missing must be zero in `x` and are in the result.
        """
        v = torch.stack([layer(x[..., i, :]) for i, layer in enumerate(self.value)], dim=-2)  # Eq. (3)
        return self.weights(x, present) @ v + x  # Eq. (4), Sec. 2.1.2


class MultiModalFusion(nn.Module):
    """cLSTM-MMA: standardise each modality to `d_model`, attend across modalities, one LSTM layer."""

    def __init__(self, config: MMANConfig) -> None:
        """Modalities are those of `config.feature_dims`."""
        super().__init__()
        dims = config.feature_dims
        self.modalities = tuple(dims)
        self.standardise = nn.ModuleDict({m: nn.Linear(dim, config.d_model) for m, dim in dims.items()})
        self.attention = MultiModalAttention(config.d_model, len(dims), config.attention)
        self.block = ContextualLSTM(config.d_model * len(dims), 1, config)

    def forward(
        self, lengths: Tensor, present: Tensor | None = None, memory: Memory | None = None, **features: Tensor
    ) -> Tensor:
        """As `EarlyFusion.forward`."""
        attended = self.attention(self._stacked(present, features), present)
        return self.block(attended.flatten(-2), lengths, features.get("turns"), memory)

    def modality_weights(self, present: Tensor | None = None, **features: Tensor) -> dict[str, Tensor]:
        """Attention that each modality receives, the mean over the asking ones: (batch, utterances) each.

        They sum to 1; a missing modality receives 0.
        """
        weights = self.attention.weights(self._stacked(present, features), present)
        received = weights.sum(-2) / weights.sum((-2, -1)).clamp(min=1)[..., None]
        return {m: received[..., i] for i, m in enumerate(self.modalities)}

    def _stacked(self, present: Tensor | None, features: dict[str, Tensor]) -> Tensor:
        """(batch, utterances, n_modalities, d_model), zero where a modality is missing."""
        rows = []
        for i, m in enumerate(self.modalities):
            there = None if present is None else present[..., i]
            rows.append(zero_missing(self.standardise[m](zero_missing(features[m], there)), there))
        return torch.stack(rows, dim=-2)


class LateFusion(StagedFusion):
    """cLSTM-LF: unimodal cLSTMs, then a cLSTM with one LSTM layer over their class probabilities."""

    def __init__(self, config: MMANConfig) -> None:
        """One part a modality."""
        super().__init__()
        self.parts = nn.ModuleDict({f"clstm-{m}": EarlyFusion(config, (m,)) for m in config.feature_dims})
        self.columns = [[i] for i in range(len(self.parts))]
        self.block = ContextualLSTM(config.n_classes * len(self.parts), 1, config)

    def forward(
        self, lengths: Tensor, present: Tensor | None = None, memory: Memory | None = None, **features: Tensor
    ) -> Tensor:
        """As `EarlyFusion.forward`."""
        p = self.fusion_input(lengths, features, present, memory)
        return self.block(p, lengths, features.get("turns"), memory)


class MMAN(StagedFusion):
    """Hybrid fusion: cLSTM-MMA and the unimodal cLSTMs under one dense layer over their class scores.

    Where the paper is silent, we choose: the scores are class probabilities (the paper says
    "predictions"), as in cLSTM-LF, and the dense layer starts as their average, so that training
    only has to learn how far to depart from it. The paper's 4.39 M parameters are met by no size.
    """

    def __init__(self, config: MMANConfig) -> None:
        """cLSTM-MMA first, then one part a modality."""
        super().__init__()
        parts: dict[str, nn.Module] = {"clstm-mma": MultiModalFusion(config)}
        parts |= {f"clstm-{m}": EarlyFusion(config, (m,)) for m in config.feature_dims}
        self.parts = nn.ModuleDict(parts)
        alone = [[i] for i in range(len(config.feature_dims))]
        self.columns = [list(range(len(alone))), *alone]
        self.output = nn.Linear(config.n_classes * len(parts), config.n_classes)
        with torch.no_grad():
            # A range of 4 between the logits of an agreed yes and an agreed no: 98 % sure of two classes.
            self.output.weight.copy_(4 / len(parts) * torch.eye(config.n_classes).repeat(1, len(parts)))
            self.output.bias.zero_()

    def forward(
        self, lengths: Tensor, present: Tensor | None = None, memory: Memory | None = None, **features: Tensor
    ) -> Tensor:
        """As `EarlyFusion.forward`."""
        return self.output(self.fusion_input(lengths, features, present, memory))
