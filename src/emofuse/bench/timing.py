"""Contenders timed in turns, so that what else the machine does hits all of them alike; and what a case comes to."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

ROUND_S = 0.2
"""A contender that is quicker is called several times a round: single calls of milliseconds are mostly noise."""

LONG_S = 2.0
"""What takes so long at its first call is called once a round, without a second warm-up."""

RATES = ("x real time", "utterances/s", "requests/s")
"""Units of which more is better; a contender's `amount` a call is in seconds of sound, utterances or requests."""

TIMES = {"ms": 1000.0, "s": 1.0}
"""Units of which less is better, and how many of them a second has."""


@dataclass(frozen=True)
class Contender:
    """Something that is timed.

    Attributes:
        name: What it is, for tables.
        run: Does the work once.
        amount: How much one run gets through, see `RATES`.
    """

    name: str
    run: Callable[[], object]
    amount: float = 1.0


def optional(name: str, run: Callable[[], object] | None, amount: float = 1.0) -> Contender | None:
    """A contender, if there is something to run."""
    return None if run is None else Contender(name, run, amount)


def interleave(contenders: Sequence[Contender], runs: int, round_s: float = ROUND_S) -> list[list[float]]:
    """Seconds a call of every contender in every run: A B C, A B C, ..., after a warm-up.

    Args:
        contenders: What to time.
        runs: Rounds.
        round_s: A contender is called so often in its turn that it takes at least about this long.
    """
    calls = [_warm_up(c.run, round_s) for c in contenders]
    seconds: list[list[float]] = [[] for _ in contenders]
    for _ in range(runs):
        for found, contender, n in zip(seconds, contenders, calls, strict=True):
            began = time.perf_counter()
            for _ in range(n):
                contender.run()
            found.append((time.perf_counter() - began) / n)
    return seconds


def _warm_up(run: Callable[[], object], round_s: float) -> int:
    """Calls a round, by the second call: the first one also pays for what is made once."""
    took = _seconds(run)
    if took < LONG_S:
        took = _seconds(run)
    return max(1, math.ceil(round_s / max(took, 1e-9)))


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median and third quartile, interpolated linearly."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return float(low), float(median), float(high)


def in_unit(unit: str, seconds: Sequence[float], amount: float) -> list[float]:
    """Seconds a call as values of a unit, for calls that get through `amount`."""
    if unit in TIMES:
        return [TIMES[unit] * s / amount for s in seconds]
    return [amount / s for s in seconds]


def ratio(unit: str, ours: float, theirs: float) -> float:
    """How many times as good ours is: more than 1 is better, whatever the unit."""
    return theirs / ours if unit in TIMES else ours / theirs


def compare(
    unit: str, contenders: Sequence[Contender], seconds: Sequence[Sequence[float]], has_reference: bool
) -> dict[str, Any]:
    """A case's values: ours, reference, unit, ratio, and how sure they are.

    Args:
        unit: One of `RATES` or `TIMES`.
        contenders: Ours, then the reference if there is one, then others to stand beside them.
        seconds: As `interleave` gives them.
        has_reference: Whether the second one is the reference.

    Returns:
        ``ours``, ``reference`` (medians), ``unit``, ``ratio`` (of these two), ``quartiles`` (first and third, of ours
        and reference), ``ratio_quartiles`` (of the rounds' ratios), ``reference_name``, ``runs`` and ``beside``: the
        same of the others.
    """
    values = [in_unit(unit, s, c.amount) for c, s in zip(contenders, seconds, strict=True)]
    low, ours, high = quartiles(values[0])
    entry: dict[str, Any] = {"ours": ours, "reference": None, "unit": unit, "ratio": None, "roofline_share": None}
    entry |= {"quartiles": {"ours": [low, high]}, "runs": len(values[0]), "beside": {}}
    for place, (contender, found) in enumerate(zip(contenders[1:], values[1:], strict=True)):
        low, median, high = quartiles(found)
        rounds = quartiles([ratio(unit, a, b) for a, b in zip(values[0], found, strict=True)])
        shares: dict[str, Any] = {"ratio": ratio(unit, ours, median), "ratio_quartiles": [rounds[0], rounds[2]]}
        if place == 0 and has_reference:
            entry |= {"reference": median, "reference_name": contender.name, **shares}
            entry["quartiles"]["reference"] = [low, high]
        else:
            entry["beside"][contender.name] = {"value": median, "quartiles": [low, high], **shares}
    return entry


def empty_entry(unit: str, note: str) -> dict[str, Any]:
    """The entry of a case that could not be measured, and why."""
    return {"ours": None, "reference": None, "unit": unit, "ratio": None, "roofline_share": None, "note": note}
