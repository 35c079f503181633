"""From the inputs of single utterances to examples: utterances, or conversations in order."""

from collections.abc import Mapping, Sequence

import numpy as np

from emofuse.corpora.utterance import Utterance
from emofuse.example import IGNORE, Example, speaker_turns
from emofuse.labels import LabelSet
from emofuse.protocol.fitted import FittedFeature


def vote_shares(votes: Mapping[str, int], classes: LabelSet) -> np.ndarray:
    """(n_classes,) shares of the votes that fall on a class; they sum to 1, or all are 0 when none does."""
    counts = np.zeros(len(classes.classes))
    for label, n in votes.items():
        index = classes.class_index(label, None)
        if index is not None:
            counts[index] += n
    return counts / max(counts.sum(), 1)


def make_examples(
    ids: Sequence[str],
    by_id: Mapping[str, Utterance],
    inputs: Mapping[str, Mapping[str, np.ndarray]],
    classes: LabelSet,
    level: str,
    *,
    absent: Mapping[str, np.ndarray] | None = None,
    context: Sequence[str] = (),
    turns: bool = False,
    fitted: Mapping[str, FittedFeature] | None = None,
) -> list[Example]:
    """Examples of one part of a fold: an utterance each, or the part's utterances of a dialogue in order.

    Args:
        ids: Utterances of the part.
        by_id: All utterances.
        inputs: Modality to the inputs by id.
        classes: Classes of the labels.
        level: ``utterance`` or ``conversation``.
        absent: Modality to what stands for an input that is not in `inputs`; None: all of them are.
        context: Utterances that dialogues hold beside, without their labels.
        turns: Say who speaks.
        fitted: Features that are seen `in_dialogue`.
    """

    def rows(group: list[str]) -> dict[str, list[np.ndarray]]:
        if absent is None:
            return {m: [a[i] for i in group] for m, a in inputs.items()}
        return {m: [a.get(i, absent[m]) for i in group] for m, a in inputs.items()}

    def example(group: list[str]) -> Example:
        present = {m: np.array([i in a for i in group]) for m, a in inputs.items()}
        marked = None if all(there.all() for there in present.values()) else present
        labels = [classes.class_index(by_id[i].label, by_id[i].original_label) for i in group]
        target = np.array([IGNORE if y is None or i in unlabelled else y for i, y in zip(group, labels, strict=True)])
        if level == "conversation":
            speakers = [by_id[i].speaker for i in group]
            arrays = {m: np.stack(found) for m, found in rows(group).items()}
            arrays |= {m: f.in_dialogue(arrays[m], speakers, present[m]) for m, f in (fitted or {}).items()}
            who = speaker_turns(speakers) if turns else None
            return Example(tuple(group), target, arrays, turns=who, present=marked)
        (u,) = (by_id[i] for i in group)
        votes = None if target[0] == IGNORE else np.eye(len(classes.classes))[target]
        if u.votes is not None:
            votes = vote_shares(u.votes, classes)[None]
        return Example(tuple(group), target, {m: array for m, (array,) in rows(group).items()}, votes, present=marked)

    unlabelled = set(context) - set(ids)
    if level == "utterance":
        return [example([i]) for i in ids]
    dialogues: dict[str, list[str]] = {}
    for i in (*ids, *sorted(unlabelled)):
        dialogues.setdefault(by_id[i].dialogue or i, []).append(i)
    return [example(sorted(group, key=lambda i: by_id[i].index)) for group in dialogues.values()]
