"""What the fusions of a conversation's modalities by other papers share: settings, masks, missing modalities."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

import torch
from torch import Tensor

from emofuse.errors import ConfigError
from emofuse.models.layers import length_mask
from emofuse.models.mman import MODALITIES

Context = Literal["past", "both"]
"""What an utterance's logits may depend on: the utterances up to it, or those behind it too."""


@dataclass(frozen=True)
class ConversationConfig:
    """What every fusion has.

    Attributes:
        n_classes: Number of emotions.
        feature_dims: Modality to the size of its utterance vector; its order is the order of fusion.
        dropout: Where each system says.
    """

    n_classes: int = 4
    feature_dims: dict[str, int] = field(default_factory=lambda: {"speech": 100, "visual": 512, "text": 100})
    dropout: float = 0.2

    def __post_init__(self) -> None:
        """Check the modalities and the sizes, those of derived classes too."""
        if not self.feature_dims or set(self.feature_dims) - set(MODALITIES):
            raise ConfigError(f"feature_dims {self.feature_dims}: modalities are {', '.join(MODALITIES)}")
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, int) and value < 1:
                raise ConfigError(f"{entry.name} is {value}, need at least 1")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}, need 0 or more and less than 1")

    def need_two_modalities(self) -> None:
        """Refuse a single modality, for systems that only relate modalities to one another."""
        if len(self.feature_dims) < 2:
            raise ConfigError(f"feature_dims {self.feature_dims}: need two modalities or more")


def visible(
    features: Mapping[str, Tensor], modalities: Iterable[str], lengths: Tensor, present: Tensor | None
) -> dict[str, Tensor]:
    """Features whose rows are zero where a modality is missing or the conversation is over, whatever stands there.

    Args:
        features: Modality to (batch, utterances, dim).
        modalities: All that the system was built for, in the order of `present`.
        lengths: (batch,).
        present: (batch, utterances, n_modalities), True where a modality is there; None: all are.
    """
    shown = {}
    for i, m in enumerate(modalities):
        if m in features:
            there = length_mask(lengths, features[m].shape[1], features[m].device)
            there = there if present is None else there & present[..., i]
            shown[m] = features[m].masked_fill(~there[..., None], 0.0)
    return shown


def context_mask(lengths: Tensor, x: Tensor, context: Context, there: Tensor | None = None) -> Tensor:
    """Which utterance may ask which: (batch, n_steps asking, n_steps asked), True where it may.

    `x`, (batch, n_steps, dim), says how many there are; `there`, (batch, n_steps), is False where the asked modality
    is missing.
    """
    n_steps = x.shape[1]
    valid = length_mask(lengths, n_steps, x.device)
    valid = valid if there is None else valid & there
    mask = valid[:, None].expand(-1, n_steps, -1)
    return mask.tril() if context == "past" else mask


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis where `mask` is True; all zero in a row that may ask nobody."""
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(-1) * mask
