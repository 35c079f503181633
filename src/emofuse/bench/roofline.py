"""What this machine can do at most: its memory bandwidth and its rate of multiplying matrices, measured here."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from emofuse.bench.work import Work

STREAM_VALUES = 2**25
"""Values of each of the three arrays that are streamed: 128 MiB, more than a cache holds."""

MATRIX = 2048
MEASURE_S = 2.0


@dataclass(frozen=True)
class Roofline:
    """Rates of this machine, with all threads that the run may use.

    Attributes:
        bytes_per_s: Memory bandwidth: ``c = a + 3 b`` over arrays larger than the cache (McCalpin's triad).
        flops_per_s: Matrix products by torch: ``float32`` and ``bfloat16`` to operations a second.
        threads: With how many threads.
    """

    bytes_per_s: float
    flops_per_s: dict[str, float]
    threads: int

    def least_s(self, work: Work) -> float:
        """Shortest time that the work can take: the longer of its arithmetic, at the best rate, and its traffic."""
        return max(work.flops / max(self.flops_per_s.values()), work.bytes / self.bytes_per_s)

    def share(self, work: Work, seconds: float) -> dict[str, Any]:
        """``roofline_share``: the shortest time through the time taken, at most about 1; and what it rests on."""
        arithmetic_s, least_s = work.flops / max(self.flops_per_s.values()), self.least_s(work)
        bound = "arithmetic" if arithmetic_s == least_s else "memory"
        rests = {"flops": work.flops, "bytes": work.bytes, "least_s": least_s, "bound": bound}
        return {"roofline_share": least_s / seconds, "roofline": rests}


def measure_roofline(n_values: int = STREAM_VALUES, size: int = MATRIX, measure_s: float = MEASURE_S) -> Roofline:
    """Measure with torch's present number of threads; the best of what was tried, since noise only takes away.

    Args:
        n_values: Length of each streamed array.
        size: Rows and columns of the matrices.
        measure_s: Seconds for each of the three measurements.
    """
    a, b, c = torch.ones(n_values), torch.ones(n_values), torch.ones(n_values)
    stream_s = _best_s(lambda: torch.add(a, b, alpha=3, out=c), measure_s)
    rates: dict[str, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        left, right = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
        product = torch.empty(size, size, dtype=dtype)
        name = str(dtype).removeprefix("torch.")
        rates[name] = 2 * size**3 / _best_s(lambda x=left, y=right, z=product: torch.mm(x, y, out=z), measure_s)
    return Roofline(3 * 4 * n_values / stream_s, rates, torch.get_num_threads())


def _best_s(run: Callable[[], object], measure_s: float) -> float:
    run()
    best, until = float("inf"), time.perf_counter() + measure_s
    while time.perf_counter() < until or best == float("inf"):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return best
