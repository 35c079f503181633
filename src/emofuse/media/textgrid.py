"""The tiers of a Praat TextGrid.

The parser is our own: pympi-ling's takes no number below 0 or with an exponent and answers a truncated file with
StopIteration; it cannot say where.
"""

import re
from pathlib import Path

from emofuse.errors import DataError
from emofuse.media.tiers import Tier, span_of, tier_of

_SILENT = frozenset({"", "sil", "sp", "silent", "silence", "<sil>", "<eps>", "<p:>"})
# What Praat reads of a text file: free-standing numbers, strings and flags; the rest is decoration.
_TOKEN = re.compile(
    r'"(?P<string>[^"]*(?:""[^"]*)*)"|(?P<flag><exists>|<absent>)|![^\n]*|(?<!\S)(?P<number>[-+]?\d[^\s"]*)(?!\S)'
)


class _Tokens:
    """The numbers, strings and flags of a TextGrid, one after the other."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.matches = (match for match in _TOKEN.finditer(text) if match.lastgroup)

    def take(self, kind: str) -> str:
        """The next one, which must be of this kind."""
        match = next(self.matches, None)
        if match is None or match.lastgroup != kind:
            row = self.text.count("\n", 0, match.start() if match else len(self.text)) + 1
            found = f"found {match[0][:40]!r}" if match else "the TextGrid ends too early"
            raise DataError(f"{self.path}: row {row}: {found}, need a {kind}")
        return match[kind].replace('""', '"')

    def count(self) -> int:
        """The next one, how many tiers or intervals follow."""
        value = self.take("number")
        if not value.isdecimal():
            raise DataError(f"{self.path}: {value[:40]} tiers or intervals; need a whole number")
        return int(value[:9])


def read_textgrid(path: Path, text: str) -> list[Tier]:
    """The interval and point tiers of a file with this text.

    Raises:
        DataError: It is no TextGrid as text, ends too early or has a bad time; the message names `path` and where.
    """
    if "chronological" in text[:40]:
        raise DataError(f"{path}: a chronological TextGrid; save it as a text file in Praat")
    tokens = _Tokens(path, text)
    if not tokens.take("string").startswith("ooTextFile") or tokens.take("string") != "TextGrid":
        raise DataError(f"{path}: a Praat file, but no TextGrid")
    _ = tokens.take("number"), tokens.take("number")
    if tokens.take("flag") != "<exists>":
        return []
    return [_textgrid_tier(path, tokens) for _ in range(tokens.count())]


def _textgrid_tier(path: Path, tokens: _Tokens) -> Tier:
    has_intervals, name = tokens.take("string") == "IntervalTier", tokens.take("string")
    tier = tier_of(name)
    _ = tokens.take("number"), tokens.take("number")
    for index in range(1, tokens.count() + 1):
        times = [tokens.take("number") for _ in range(1 + has_intervals)]
        label = tokens.take("string").strip()
        if has_intervals and label.lower() not in _SILENT:
            where = f"{path}: tier {name!r}: interval {index}"
            tier.spans.append(span_of(times, "" if tier.role == "places" else label, where, ("xmin", "xmax")))
    return tier
