"""What a model sees at once, as arrays: an utterance or a conversation, padded to the parameters of `forward`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emofuse.errors import DataError

IGNORE = -1
"""Label of a padded or unlabelled slot: it enters neither loss nor metrics."""


@dataclass(frozen=True)
class Example:
    """What a model sees at once: one utterance, or the utterances of one conversation in order.

    Attributes:
        ids: Utterance ids; one for an utterance-level system.
        labels: (len(ids),) class indices, `IGNORE` where there is none.
        inputs: Modality to array. Utterance level: a sequence in time, (steps,) or (steps, dim).
            Conversation level: one vector an utterance, (len(ids), dim). Where a modality is missing
            these are no steps at all, or a row of zeros.
        votes: (len(ids), n_classes) shares of the annotators' votes, where they were published.
        turns: Conversation level: (len(ids), 2), as `speaker_turns` gives it; None: nobody is known.
        present: Modality to (len(ids),), True where it is there; None: all of them are.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    inputs: dict[str, np.ndarray]
    votes: np.ndarray | None = None
    turns: np.ndarray | None = None
    present: dict[str, np.ndarray] | None = None

    @property
    def n_steps(self) -> int:
        """Length of the longest input: what padding depends on."""
        return max(len(array) for array in self.inputs.values())


def speaker_turns(speakers: Sequence[str | None]) -> np.ndarray:
    """Who speaks, without names: (n,) speakers of a dialogue in order -> (n, 2) of 1, -1 and 0 for not known.

    First whether it is the first speaker of the dialogue, then whether it is that of the utterance
    before. Nothing in it depends on the future.
    """
    turns = np.zeros((len(speakers), 2), np.float32)
    first = next((s for s in speakers if s is not None), None)
    for i, speaker in enumerate(speakers):
        if speaker is not None:
            turns[i, 0] = 1 if speaker == first else -1
            if i and speakers[i - 1] is not None:
                turns[i, 1] = 1 if speaker == speakers[i - 1] else -1
    return turns


def there(example: Example, modality: str) -> np.ndarray:
    """(len(ids),), True where the example has the modality."""
    return np.ones(len(example.ids), bool) if example.present is None else example.present[modality]


def pad(arrays: Sequence[np.ndarray], value: float = 0.0, empty: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Stack (steps, ...) arrays to (batch, longest, ...), padded behind; and their lengths (batch,).

    Raises:
        DataError: An array has no steps, unless `empty` says that it may.
    """
    lengths = np.array([len(a) for a in arrays])
    if lengths.min() == 0 and not empty:
        raise DataError(f"example {lengths.argmin()} of a batch is empty, need at least one step")
    padded = np.full((len(arrays), lengths.max(), *arrays[0].shape[1:]), value, dtype=arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded, lengths


def model_inputs(examples: Sequence[Example], level: str) -> dict[str, np.ndarray]:
    """Examples padded to one batch, by the names of the parameters of a model's `forward`.

    At conversation level there is an input ``present``, (batch, utterances, n_modalities), where
    something is missing; at utterance level a missing modality has length 0.

    Args:
        examples: With the same modalities.
        level: ``utterance`` or ``conversation``.
    """
    inputs: dict[str, np.ndarray] = {}
    some_missing = any(e.present is not None for e in examples)
    for modality in examples[0].inputs:
        inputs[modality], lengths = pad([e.inputs[modality] for e in examples], empty=some_missing)
        inputs["lengths" if level == "conversation" else f"{modality}_lengths"] = lengths
    if level != "conversation":
        return inputs
    if some_missing:
        inputs["present"] = np.stack([pad([there(e, m) for e in examples])[0] for m in examples[0].inputs], axis=-1)
    turns = [e.turns for e in examples if e.turns is not None]
    if len(turns) == len(examples):
        inputs["turns"], _ = pad(turns)
    return inputs
