"""One task over many items in several processes, any of which may be killed by a file that its decoder chokes on."""

import itertools
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableSequence, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from emofuse.errors import EmofuseError
from emofuse.memory import keep_freed_memory
from emofuse.threads import use_one_thread

Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)

MAX_DEATHS = 10
"""Processes that may die one after the other before one of them gets on."""

REPORT_S = 0.2
"""Age of a result from which a process reports: one by one the results of quick items cost the parent too much."""


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


class _Report(NamedTuple):
    """What a process tells its parent.

    Attributes:
        results: Of the next items, in their order.
        saved: Whether all of its results are saved.
        idle: Whether it needs more items.
    """

    results: list[Any]
    saved: bool
    idle: bool


class _Worker(Generic[Item, Result]):
    """The parent's side of one process.

    Attributes:
        todo: Items that it has and has not reported, in order.
        unsaved: Items and results of which it holds a part in memory.
    """

    def __init__(self, start: Callable[[], Task[Item, Result]], items: Sequence[Item]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy the locks of the parent's threads
        self.pipe, other = context.Pipe()
        # In memory that both see: how many items it has begun and how many it has done, which outlives it.
        self._counts = context.RawArray("q", 2)
        self._n_reported = 0
        self.process = context.Process(target=_serve, args=(other, start, self._counts))
        self.process.start()
        other.close()  # so that the process' end closes the pipe
        self.unsaved: list[tuple[Item, Result]] = []
        self.todo: deque[Item] = deque()
        self.send(items)

    def send(self, items: Sequence[Item]) -> None:
        """Give it more items; none: let it save and end."""
        self.todo.extend(items)
        with suppress(ConnectionError):  # it has died; the end of its pipe, which is read next, says so too
            self.pipe.send(items or None)

    def take(self, results: Sequence[Result]) -> list[tuple[Item, Result]]:
        """Results that it reports, with their items."""
        self._n_reported += len(results)
        taken = [(self.todo.popleft(), result) for result in results]
        self.unsaved += taken
        return taken

    def saved(self) -> list[tuple[Item, Result]]:
        """Take over what it says it has saved."""
        done, self.unsaved = self.unsaved, []
        return done

    @property
    def got_on(self) -> bool:
        """Whether it has done items that it has not reported; it has lost them, but it did not die at once."""
        return self._counts[1] > self._n_reported

    def blamed(self) -> list[Item]:
        """Take out the item at which it died; none where it died between two."""
        begun, done = self._counts
        if begun == done:
            return []
        place = done - self._n_reported
        item = self.todo[place]
        del self.todo[place]
        return [item]

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
        on_result: Called with each result soon, saved or not; not again for an item computed again.
        batch_size: Items that are sent at once.

    Yields:
        Each item with its result, in any order, once it is saved.

    Raises:
        EmofuseError, OSError: The task's own, from a process.
        RuntimeError: A process failed otherwise, or `MAX_DEATHS` died in a row without getting on.
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
                    report = pipe.recv()
                except (EOFError, ConnectionResetError):
                    del workers[pipe]
                    if fate := worker.fate():
                        deaths = 1 if worker.got_on else deaths + 1
                        if deaths >= MAX_DEATHS:
                            raise RuntimeError(f"{deaths} worker processes in a row: {fate}") from None
                        for item in worker.blamed():
                            yield item, Died(fate)
                        lost = [item for item, _ in worker.unsaved]
                        repeated.update(lost)
                        again.extend([*lost, *worker.todo])
                        add_worker()
                    continue
                if isinstance(report, Exception):
                    raise report
                taken = worker.take(report.results)
                if report.idle:
                    worker.send(batch())  # before anything else: it waits
                for item, result in taken:
                    deaths = 0
                    if item not in repeated:
                        on_result(result)
                if report.saved:
                    yield from worker.saved()
    finally:
        for worker in workers.values():
            worker.pipe.close()  # tells it to save and end
        for worker in workers.values():
            worker.process.join()


def _serve(pipe: Connection, start: Callable[[], Task[Any, Any]], counts: MutableSequence[int]) -> None:
    """What a process does until it gets no more items or the parent is gone."""
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which says when to end
    use_one_thread()
    try:
        task = start()
        try:
            for items in iter(pipe.recv, None):
                _work(items, task, pipe, counts)
        finally:
            task.flush()
        pipe.send(_Report([], saved=True, idle=False))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone; all is saved
    except (EmofuseError, OSError) as error:
        pipe.send(error)


def _work(items: Sequence[Any], task: Task[Any, Any], pipe: Connection, counts: MutableSequence[int]) -> None:
    """Do a batch. What the task has saved is reported at once: if it were lost with its process, it would be redone."""
    results: list[Any] = []
    reported_s = time.monotonic()
    for item in items:
        counts[0] += 1
        results.append(task(item))
        counts[1] += 1
        saved = task.n_unsaved == 0
        if saved or time.monotonic() - reported_s >= REPORT_S:
            pipe.send(_Report(results, saved, idle=False))
            results, reported_s = [], time.monotonic()
            if pipe.poll():  # between two batches alone there is something to read: the end
                break
    pipe.send(_Report(results, saved=task.n_unsaved == 0, idle=True))
