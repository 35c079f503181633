"""Utterances a few at a time: enough to divide among threads, never those of a long recording together."""

from collections.abc import Iterable, Iterator

from emofuse.recording import Utterance

TOGETHER, TOGETHER_S = 16, 120.0
"""Utterances that are in memory and judged at once, at most, and seconds from which on no more are added to them."""


def groups(utterances: Iterable[Utterance]) -> Iterator[list[Utterance]]:
    """The utterances in groups of at most `TOGETHER`; one has `TOGETHER_S` at most, but for its last utterance."""
    group: list[Utterance] = []
    for u in utterances:
        group.append(u)
        if len(group) == TOGETHER or sum(map(seconds, group)) >= TOGETHER_S:
            yield group
            group = []
    if group:
        yield group


def seconds(u: Utterance) -> float:
    """How long it lasts."""
    return u.segment.end_s - u.segment.start_s
