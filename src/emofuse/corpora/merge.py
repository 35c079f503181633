"""Several corpora as one: for a model that is trained on more than one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import DataError


def _prefixed(u: Utterance, corpus: str) -> Utterance:
    """The utterance with ids that are unique over corpora, and without the corpus' stored features."""

    def unique(name: str | None) -> str | None:
        return None if name is None else f"{corpus}-{name}"

    return replace(
        u,
        id=f"{corpus}-{u.id}",
        dialogue=unique(u.dialogue),
        speaker=unique(u.speaker),
        session=unique(u.session),
        features={},
    )


def merge(corpora: Sequence[Corpus]) -> Corpus:
    """One corpus of all utterances; ids, dialogues, speakers and sessions get the corpus' name in front.

    Stored features are left behind, since they differ from corpus to corpus; media and text stay.
    """
    utterances = tuple(_prefixed(u, c.name) for c in corpora for u in c.utterances)
    return Corpus("+".join(c.name for c in corpora), utterances, licence="; ".join(c.licence for c in corpora))


def part_folder(data: Path, name: str) -> Path:
    """Where a corpus lies below the folder of several: ``emodb``, or ``meld`` for ``meld-table``.

    Raises:
        DataError: Neither folder is there.
    """
    for candidate in (data / name, data / name.removesuffix("-table")):
        if candidate.exists():
            return candidate
    raise DataError(f"{data}: no folder {name}, need one folder a corpus")
