"""How many threads are used: one an operation, as those that share a small one wait; work side by side."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")


def available() -> int:
    """Threads that this process may compute in: torch's where it is loaded, else OMP_NUM_THREADS, else its cores."""
    if torch := sys.modules.get("torch"):
        return torch.get_num_threads()
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_one_thread() -> None:
    """Keep the numeric libraries of this process to one thread, without importing those that nobody needs.

    Two OpenMP threads stall LSTM training while another process uses a core; one does not.
    """
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # for those that are yet to be imported


def use_half_of_the_threads() -> int:
    """Let torch, where it runs the networks, use half of the threads that it would; and how many these are."""
    n_threads = max(1, available() // 2)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(n_threads)
    else:
        os.environ["OMP_NUM_THREADS"] = str(n_threads)
    return n_threads


def one_blas_thread() -> AbstractContextManager[object]:
    """A context in which numpy's products of matrices take one thread: for small ones several spin more than work."""
    return _blas().limit(limits=1)


@cache  # looking for the libraries takes a millisecond; numpy has loaded its own by now
def _blas() -> "ThreadpoolController":
    from threadpoolctl import ThreadpoolController  # `emofuse --help` does without

    return ThreadpoolController().select(user_api="blas")


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`work` of each item, in a thread each.

    The threads end with it: none is there when a process is forked.
    """
    torch = sys.modules.get("torch")
    one_thread = (lambda: torch.set_num_threads(1)) if torch else None  # in it alone; but new ones take over the last
    try:
        with ThreadPoolExecutor(len(items), "emofuse", initializer=one_thread) as pool:
            return list(pool.map(work, items))
    finally:
        if torch:
            torch.set_num_threads(torch.get_num_threads())
