"""What this machine can do at most: its memory bandwidth and its rate of multiplying matrices, measured here."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emofuse.bench.timing import Contender
from emofuse.bench.work import FLOAT_BYTES, Work

MEMORY = "memory"


@dataclass(frozen=True)
class Roofline:
    """Rates of this machine, with the threads that the case has.

    Attributes:
        bytes_per_s: Memory bandwidth.
        flops_per_s: ``float32`` and ``bfloat16`` to operations a second of matrix products by torch.
    """

    bytes_per_s: float
    flops_per_s: dict[str, float]

    def share(self, work: Work, seconds: float) -> dict[str, Any]:
        """The shortest time that work can take through the time taken, and what it rests on.

        The shortest time is the longer of the arithmetic's, at the better rate, and of the traffic's.
        """
        arithmetic_s, traffic_s = work.flops / max(self.flops_per_s.values()), work.bytes / self.bytes_per_s
        rests = {
            "flops": work.flops,
            "bytes": work.bytes,
            "least_s": max(arithmetic_s, traffic_s),
            "bound": "arithmetic" if arithmetic_s >= traffic_s else MEMORY,
            "bytes_per_s": self.bytes_per_s,
            "flops_per_s": self.flops_per_s,
        }
        return {"roofline_share": rests["least_s"] / seconds, "roofline": rests}


ON_GPU = 20
"""Calls of a probe a run on a GPU: a single one would be shorter than telling the GPU to begin and waiting for it."""

CPU = torch.device("cpu")


def probes(n_values: int, size: int, device: torch.device = CPU) -> list[Contender]:
    """What is timed in turns with a model to know what the machine can do meanwhile.

    Args:
        n_values: Of each of three arrays larger than the cache, ``c = a + 3 b`` (McCalpin's triad); amount in bytes.
        size: Rows and columns of matrices that are multiplied; amount in operations.
        device: What is to be measured.
    """
    a, b, c = (torch.ones(n_values, device=device) for _ in range(3))
    triad = _probe(MEMORY, lambda: torch.add(a, b, alpha=3, out=c), 3.0 * FLOAT_BYTES * n_values, device)
    return [triad, *(_product(size, dtype, device) for dtype in (torch.float32, torch.bfloat16))]


def _product(size: int, dtype: torch.dtype, device: torch.device) -> Contender:
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = torch.empty(size, size, dtype=dtype, device=device)
    name = str(dtype).removeprefix("torch.")
    return _probe(name, lambda: torch.mm(left, right, out=product), 2.0 * size**3, device)


def _probe(name: str, call: Callable[[], Tensor], amount: float, device: torch.device) -> Contender:
    if device.type != "cuda":
        return Contender(name, call, amount)

    def run() -> None:
        for _ in range(ON_GPU):
            call()
        torch.cuda.synchronize(device)

    return Contender(name, run, ON_GPU * amount)


def roofline_of(contenders: Sequence[Contender], seconds: Sequence[Sequence[float]]) -> Roofline:
    """From what `interleave` measured of `probes`: the best run of each counts, since noise only takes away."""
    rates = {c.name: c.amount / min(s) for c, s in zip(contenders, seconds, strict=True)}
    return Roofline(rates.pop(MEMORY), rates)


def best_of(rooflines: Iterable[Roofline]) -> Roofline | None:
    """The best rates of several; None of none."""
    found = list(rooflines)
    if not found:
        return None
    names = found[0].flops_per_s
    return Roofline(max(r.bytes_per_s for r in found), {n: max(r.flops_per_s[n] for r in found) for n in names})
