"""What TextGrid and ELAN files share: tiers of labels over time, and what they say of segments and words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from emofuse.media.segment import Segment, Word, assign_words, check_span, group_words, parse_seconds

_ROLES = {
    **dict.fromkeys(("word", "words"), "words"),
    **dict.fromkeys(("emotion", "emotions"), "places"),
    **dict.fromkeys(("phone", "phones", "phoneme", "phonemes", "confidence"), "other"),
    **dict.fromkeys(("text", "transcript", "transcription", "utterance", "utterances", "sentence"), "text"),
    **dict.fromkeys(("sentences", "segment", "segments", "speech", "silences"), "text"),
}
"""Tier names that say what a tier holds, not who speaks; also as ``Anna - words``, as forced aligners write."""

_TIER_NAME = re.compile(r"(?:(?P<speaker>.+) - )?(?P<role>[^\W\d]+)(?: (?P<lane>\d+))?")
_SOUNDING = frozenset({"sounding", "speech", "<sounding>"})


@dataclass
class Tier:
    """A tier of a TextGrid or ELAN file.

    Attributes:
        speaker: Who speaks.
        role: What the labels are: ``text``, ``words``, ``places`` (where utterances are, not what was said), ``other``.
        lane: Which of several tiers of one speaker.
        spans: The labels as segments' texts.
    """

    speaker: str | None
    role: str
    lane: str | None
    spans: list[Segment] = field(default_factory=list)


def tier_of(name: str, participant: str | None = None) -> Tier:
    """A tier without its labels, by its name and, if the file says it, who speaks."""
    match, role = _TIER_NAME.fullmatch(name.strip()), role_of(name)
    if match is None or role is None:
        return Tier(participant or name.strip() or None, "text", None)
    return Tier(participant or match["speaker"], role, match["lane"])


def role_of(name: str) -> str | None:
    """What a tier's name says of its labels, see `Tier`; None: nothing, it is who speaks."""
    match = _TIER_NAME.fullmatch(name.strip())
    return _ROLES.get(match["role"].lower()) if match else None


def segments_of(tiers: Sequence[Tier]) -> list[Segment]:
    """Segments from tiers of utterances, with the words of the tiers of words."""
    found: dict[tuple[str | None, str | None, float, float], Segment] = {}
    for tier in sorted(tiers, key=lambda t: t.role):  # "places" before "text", which fills them in
        if tier.role not in ("places", "text"):
            continue
        for span in tier.spans:
            key = (tier.speaker, tier.lane, round(span.start_s, 3), round(span.end_s, 3))
            found[key] = replace(found.get(key, span), speaker=tier.speaker, text=span.text)
    segments = list(found.values())
    for tier in tiers:
        if tier.role != "words":
            continue
        words = [Word(s.text, s.start_s, s.end_s) for s in tier.spans if s.text]
        own = [s for s in segments if tier.speaker in (None, s.speaker)]
        others = [s for s in segments if tier.speaker not in (None, s.speaker)]
        segments = others + (assign_words(own, words) if own else group_words(words, tier.speaker))
    return segments


def span_of(
    times: Sequence[str | None], label: str, where: str, names: tuple[str, str], per_second: float = 1.0
) -> Segment:
    """A label with its place in time.

    Args:
        times: Start and end as the file has them.
        label: Its text; one that says only that there is speech is none.
        where: The place in the file, for errors.
        names: What start and end are called there.
        per_second: Units of `times` in a second.

    Raises:
        DataError: A time is bad.
    """
    start_s, end_s = (parse_seconds(t, where, n, per_second) for t, n in zip(times, names, strict=True))
    check_span(start_s, end_s, where)
    return Segment(start_s, end_s, text=None if label.lower() in _SOUNDING else label or None)
