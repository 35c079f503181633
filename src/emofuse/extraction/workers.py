"""One task over many items in several processes, any of which may be killed by a file that its decoder chokes on."""

import itertools
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Protocol, TypeVar

from emofuse.errors import EmofuseError
from emofuse.memory import keep_freed_memory
from emofuse.threads import use_one_thread

Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)

MAX_DEATHS = 10
"""Processes that may die one after the other without any result between them."""


class Task(Protocol[Item_contra, Result_co]):
    """What a process does with its items; it may collect what it computes in memory."""

    def __call__(self, item: Item_contra, /) -> Result_co:
        """The result of one item."""
        ...

    @property
    def n_unsaved(self) -> int:
        """Results of which a part is in memory only."""
        ...

    def flush(self) -> None:
        """Save them."""
        ...


@dataclass(frozen=True)
class Died:
    """The result of an item at which its process died, and how, in words."""

    reason: str


class _Worker(Generic[Item, Result]):
    """The parent's side of one process.

    Attributes:
        todo: Items that it has and has not answered, in order.
        unsaved: Items and results of which it holds a part in memory.
    """

    def __init__(self, start: Callable[[], Task[Item, Result]], items: Sequence[Item]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy the locks of the parent's threads
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, start))
        self.process.start()
        other.close()  # so that the process' end closes the pipe
        self.unsaved: list[tuple[Item, Result]] = []
        self.todo: deque[Item] = deque()
        self.send(items)

    def send(self, items: Sequence[Item]) -> None:
        """Give it more items; none: let it save and end."""
        self.todo.extend(items)
        self.pipe.send(items or None)

    def saved(self) -> list[tuple[Item, Result]]:
        """Take over what it says it has saved."""
        done, self.unsaved = self.unsaved, []
        return done

    def fate(self) -> str:
        """How it ended, in words; empty when it ended as it should."""
        self.process.join()
        code = self.process.exitcode or 0
        if code == 1:
            raise RuntimeError("a worker process failed; its traceback stands above")
        if code == 0:
            return ""
        name = signal.strsignal(-code) if code < 0 else None
        return f"the process died while at it ({name or f'exit code {code}'})"


def run_in_processes(
    items: Iterable[Item],
    start: Callable[[], Task[Item, Result]],
    jobs: int,
    on_result: Callable[[Result], None],
    batch_size: int = 16,
) -> Iterator[tuple[Item, Result | Died]]:
    """Run a task over items in `jobs` processes, one thread each.

    A process that dies costs the item that it was at; what else it held in memory is computed again.

    Args:
        items: Hashable; taken as the processes ask for them, never all at once. Neighbours go together.
        start: Makes the task in its process; both must be picklable.
        jobs: Number of processes.
        on_result: Called with each result at once, saved or not; not again for an item computed again.
        batch_size: Items that are sent at once.

    Yields:
        Each item with its result, in any order, once it is saved.

    Raises:
        EmofuseError, OSError: The task's own, from a process.
        RuntimeError: A process failed otherwise, or `MAX_DEATHS` died in a row.
    """
    source, again, repeated = iter(items), deque[Item](), set[Item]()
    workers: dict[Connection, _Worker[Item, Result]] = {}
    deaths = 0

    def batch() -> list[Item]:
        lost = [again.popleft() for _ in range(min(len(again), batch_size))]
        return lost or list(itertools.islice(source, batch_size))

    def add_worker() -> None:
        if given := batch():
            worker = _Worker(start, given)
            workers[worker.pipe] = worker

    try:
        for _ in range(jobs):
            add_worker()
        while workers:
            for pipe in wait(list(workers)):
                assert isinstance(pipe, Connection)
                worker = workers[pipe]
                try:
                    kind, *values = pipe.recv()
                except (EOFError, ConnectionResetError):
                    del workers[pipe]
                    if fate := worker.fate():
                        deaths += 1
                        if deaths >= MAX_DEATHS:
                            raise RuntimeError(f"{deaths} worker processes in a row: {fate}") from None
                        if worker.todo:
                            yield worker.todo.popleft(), Died(fate)
                        lost = [item for item, _ in worker.unsaved]
                        repeated.update(lost)
                        again.extend([*lost, *worker.todo])
                        add_worker()
                    continue
                if kind == "error":
                    raise values[0]
                if kind == "ready":
                    worker.send(batch())
                elif kind == "result":
                    deaths = 0
                    item = worker.todo.popleft()
                    worker.unsaved.append((item, values[0]))
                    if item not in repeated:
                        on_result(values[0])
                if kind == "saved" or (kind == "result" and values[1]):
                    yield from worker.saved()
    finally:
        for worker in workers.values():
            worker.pipe.close()  # tells it to save and end
        for worker in workers.values():
            worker.process.join()


def _serve(pipe: Connection, start: Callable[[], Task[Any, Any]]) -> None:
    """What a process does until it gets no more items or the parent is gone."""
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which says when to end
    use_one_thread()
    try:
        task = start()
        try:
            for items in iter(pipe.recv, None):
                for item in items:
                    result = task(item)
                    pipe.send(("result", result, task.n_unsaved == 0))
                    if pipe.poll():  # between two batches alone there is something to read: the end
                        break
                pipe.send(("ready",))
        finally:
            task.flush()
        pipe.send(("saved",))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone; all is saved
    except (EmofuseError, OSError) as error:
        pipe.send(("error", error))
