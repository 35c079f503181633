"""Work side by side in threads, each operation in one: threads that share a small operation wait for each other."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import TypeVar

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


def one_blas_thread() -> AbstractContextManager[object]:
    """A context in which numpy's products of matrices take one thread: for small ones several spin more than work."""
    return _blas().limit(limits=1)


@cache  # looking for the libraries takes a millisecond; numpy has loaded its own by now
def _blas() -> ThreadpoolController:
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
