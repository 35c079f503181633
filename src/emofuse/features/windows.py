"""Windows of a sequence that is too long for a network to see at once."""

from collections.abc import Iterator
from typing import NamedTuple


class Window(NamedTuple):
    """Rows ``start`` to ``end`` are seen; of them, rows ``keep_start`` to ``keep_end`` are kept."""

    start: int
    end: int
    keep_start: int
    keep_end: int


def windows(n_rows: int, size: int, context: int) -> Iterator[Window]:
    """Overlapping windows whose kept rows are each row of 0 to `n_rows` once, in order.

    A kept row sees at least `context` rows on either side, unless the sequence ends there; every
    window is `size` rows, unless the sequence is shorter.

    Args:
        n_rows: Length of the sequence, at least 1.
        size: Rows that the network sees at once, more than ``2 * context``.
        context: Rows on either side that are seen and not kept.
    """
    kept = 0
    while kept < n_rows:
        start = max(0, min(kept - context, n_rows - size))
        end = min(start + size, n_rows)
        keep_end = n_rows if end == n_rows else end - context
        yield Window(start, end, kept, keep_end)
        kept = keep_end
