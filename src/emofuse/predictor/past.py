"""What is kept of a conversation that is judged as it goes on."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from emofuse.features.running import Heard
from emofuse.network import Memory

WINDOW = 100
"""Utterances that a system looks back on which cannot carry what it knows of them, as one with attention to them."""


@dataclass
class Past:
    """What one part knows of the utterances before; `Part.conclude` brings it up to date.

    Attributes:
        memory: The states of a system that goes on from them, see `emofuse.network.Network`.
        heard: Modality to what its speakers have sounded like, of features that are relative to it.
        speakers: The first speaker of the conversation and the last one; None where not known.
        window: The last utterances and their speakers, for a system that has to look at them again.
    """

    memory: Memory = field(default_factory=dict)
    heard: dict[str, Heard] = field(default_factory=dict)
    speakers: tuple[str | None, str | None] = (None, None)
    window: deque[tuple[dict[str, np.ndarray], str | None]] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def copy(self) -> "Past":
        """One that can go on by itself."""
        heard = {m: dict(h) for m, h in self.heard.items()}
        return Past(dict(self.memory), heard, self.speakers, self.window.copy())
