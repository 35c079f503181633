"""Which modalities an utterance lacks, and what a system makes of that."""

from collections.abc import Mapping, Sequence

from emofuse.corpora.utterance import Utterance
from emofuse.errors import DataError
from emofuse.extraction.sources import source_of


def lacking(utterances: Sequence[Utterance], modality: str, kind: str) -> dict[str, str]:
    """Utterances without anything to make a modality of, by id, and what they lack.

    Args:
        utterances: Of a corpus.
        modality: ``speech``, ``visual``, ``text``.
        kind: As in `FeatureConfig`.
    """
    reasons = {u.id: _lacks(u, modality, kind) for u in utterances}
    return {i: reason for i, reason in reasons.items() if reason}


def _lacks(u: Utterance, modality: str, kind: str) -> str:
    """What one utterance lacks; empty where it lacks nothing."""
    if kind == "stored":
        return "" if modality in u.features else f"has no stored {modality} feature"
    if kind in ("words", "wordpieces", "text-cnn"):
        return "" if u.text else f"has no text, need a transcript for {modality} = {kind}"
    if kind == "face":
        return "" if u.image else f"has no image, need a face for {modality} = face"
    if kind == "extract":
        try:
            source_of(u, modality)
        except DataError as error:
            return f"has {error}"
        return ""
    return "" if u.audio or u.video else f"has no audio, need it for {modality} = {kind}"


def require_some(corpus: str, ids: Sequence[str], lacks: Mapping[str, Mapping[str, str]]) -> None:
    """Raise DataError for the first of `ids` that has no modality at all.

    A system of one modality so refuses whatever lacks it; one that fuses several takes what there is.

    Args:
        corpus: For the message.
        ids: Utterances that a system is to see.
        lacks: Each of its modalities to what `lacking` gives.
    """
    for i in ids:
        reasons = [of[i] for of in lacks.values() if i in of]
        if len(reasons) == len(lacks):
            raise DataError(f"{corpus}: utterance {i} {' and '.join(reasons)}")
