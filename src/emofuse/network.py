"""What a predictor asks of a network, whichever engine runs it: arrays in, arrays out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

Inputs = Mapping[str, np.ndarray]
"""As `emofuse.example.model_inputs` gives them."""

Memory = dict[Any, Any]
"""What a network keeps of a conversation that goes on. It is for that network alone, which replaces its values."""


@dataclass(frozen=True)
class Outcome:
    """What a network makes of a batch.

    Attributes:
        logits: (batch, n_classes), or (batch, utterances, n_classes).
        received: Modality to (batch, steps), the attention that each frame or word receives; empty without attention.
        shares: Modality to (batch, utterances), the attention that each modality receives; empty without any.
    """

    logits: np.ndarray
    received: Mapping[str, np.ndarray] = field(default_factory=dict)
    shares: Mapping[str, np.ndarray] = field(default_factory=dict)


class Network(Protocol):
    """A trained network at work.

    Attributes:
        level: ``utterance`` or ``conversation``, see `emofuse.models.System`.
        turns: Whether it wants to know who speaks.
        goes_on: Whether it can go on from a `Memory`.
    """

    level: str
    turns: bool
    goes_on: bool

    def __call__(self, inputs: Inputs, memory: Memory | None = None) -> Outcome:
        """Judge a batch; `memory` is of the utterances before, and afterwards of these too."""
        ...

    def logits(self, inputs: Inputs) -> np.ndarray:
        """The logits alone, which may be quicker."""
        ...
