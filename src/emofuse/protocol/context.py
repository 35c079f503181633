"""Utterances whose label a protocol leaves out: dropped, or kept in their dialogue as what was said there."""

from collections.abc import Iterable, Mapping, Sequence

from emofuse.corpora.utterance import Utterance
from emofuse.errors import DataError
from emofuse.protocol.splits import Fold


def with_context(ids: Iterable[str], utterances: Sequence[Utterance]) -> tuple[str, ...]:
    """`ids` and every other utterance of their dialogues, in the order of `utterances`."""
    chosen = set(ids)
    dialogues = {u.dialogue for u in utterances if u.id in chosen and u.dialogue is not None}
    return tuple(u.id for u in utterances if u.id in chosen or u.dialogue in dialogues)


def refuse_shared_dialogues(fold: Fold, by_id: Mapping[str, Utterance]) -> None:
    """Raise DataError where a dialogue has utterances in two parts: its context would be the other part's."""
    seen: dict[str, str] = {}
    for part in ("train", "dev", "test"):
        for dialogue in {by_id[i].dialogue for i in getattr(fold, part)} - {None}:
            assert dialogue is not None
            if dialogue in seen:
                raise DataError(
                    f"fold {fold.name}: dialogue {dialogue} is in {seen[dialogue]} and in {part}; "
                    'other_labels = "context" needs whole dialogues in one part'
                )
            seen[dialogue] = part
