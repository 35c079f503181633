"""Work on a Ray cluster: parts of a list to actors, any of which may die, and tasks that need nothing of each other.

A part is what is done or not: its actor finishes it (writes what it holds) before its results count. When an actor
dies, Ray gives the part to another one. An item at which actors die again and again (a file that its decoder chokes
on) is left out: an actor notes at which item it is, in a folder that all see, before it begins.
"""

import hashlib
import json
import logging
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from emofuse.errors import ConfigError, EmofuseError
from emofuse.extraction.workers import Died
from emofuse.memory import keep_freed_memory
from emofuse.threads import use_one_thread

# Read when ray is imported: it would tell its makers, and print its core's log between our lines.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

try:
    import ray
    import ray.data
    import ray.exceptions
except ImportError:
    ray = None

Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Report = TypeVar("Report")
Report_co = TypeVar("Report_co", covariant=True)

MAX_DEATHS = 2
"""Actors that may die at one item; then it is given up."""

MOST_PARTS, LARGEST_PART = 64, 64

CONNECT_S = 10.0

STORE_BYTES = 200 * 2**20
"""Ray's object store, where Ray is started for one command: names and counts pass through it alone."""


class PartTask(Protocol[Item_contra, Result, Report_co]):
    """What an actor does with the items of a part, one after the other."""

    def __call__(self, item: Item_contra, /) -> Result:
        """The result of one item."""
        ...

    def finish(self, outcomes: Sequence[tuple[Item_contra, Result | Died]], /) -> Sequence[Report_co]:
        """Write what is in memory and say what is to be told of it; `outcomes` are the part's items and results."""
        ...


@dataclass(frozen=True)
class Cluster:
    """Where work is done.

    Attributes:
        address: ``auto``: the cluster that ``RAY_ADDRESS`` names or ``ray start`` has started here, else one that lives
            as long as the command; or HOST:PORT.
        jobs: Actors or tasks at a time; None: one a CPU.
    """

    address: str = "auto"
    jobs: int | None = None

    @contextmanager
    def joined(self) -> Iterator[int]:
        """Connect to it; yields the number of jobs.

        Raises:
            ConfigError: Ray is not installed, or nothing answers at the address.
        """
        if ray is None:
            raise ConfigError('--ray needs Ray: pip install "emofuse[ray]"')
        _connect(self.address)
        try:
            yield self.jobs or max(1, int(ray.cluster_resources().get("CPU", 1)))
        finally:
            ray.shutdown()


def _connect(address: str) -> None:
    assert ray is not None
    quiet: dict[str, Any] = {"include_dashboard": False, "logging_level": "error", "log_to_driver": False}
    if address == "auto":
        try:
            ray.init(object_store_memory=STORE_BYTES, **quiet)
        except ValueError:  # a cluster is there already, with a store of its own size
            ray.init(**quiet)
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()  # Ray itself would try for minutes
        ray.init(address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(f"--ray {address}: no Ray cluster answers there; need auto or HOST:PORT ({reason})") from None


def parts_of(items: Sequence[Item]) -> list[Sequence[Item]]:
    """Neighbours in parts whose size depends on the number of items alone, so that a repeated run has the same ones."""
    size = min(max(1, len(items) // MOST_PARTS), LARGEST_PART)
    return [items[start : start + size] for start in range(0, len(items), size)]


def run_parts(
    cluster: Cluster,
    parts: Sequence[Sequence[Item]],
    start: Callable[[], PartTask[Item, Any, Report]],
    notes: Path,
) -> Iterator[Sequence[Report]]:
    """Run a task over parts with Ray Data, one actor a job with one thread each.

    Args:
        cluster: Where.
        parts: Of items that can be pickled.
        start: Makes the task in its actor.
        notes: Folder, seen by every actor, in which they note where they are; made anew and removed.

    Yields:
        What is told of each part, once it is finished; in any order.

    Raises:
        EmofuseError, OSError: The task's own, from an actor.
        ConfigError: The cluster cannot be reached.
    """
    if not parts:
        return
    with cluster.joined() as jobs:
        assert ray is not None
        shutil.rmtree(notes, ignore_errors=True)
        notes.mkdir(parents=True)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        rows = [{"number": number, "part": tuple(part)} for number, part in enumerate(parts)]
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Actor,
            fn_constructor_args=(start, notes),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(jobs, len(parts))),
            num_cpus=1,
        )
        for row in done.iter_rows():
            if row["error"] is not None:
                raise row["error"]
            yield row["reports"]
        shutil.rmtree(notes, ignore_errors=True)


class _Actor:
    """Does parts in a process of the cluster."""

    def __init__(self, start: Callable[[], PartTask[Any, Any, Any]], notes: Path) -> None:
        self._start, self._notes = start, notes
        self._task: PartTask[Any, Any, Any] | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One part; what the user can mend comes back as a value, as Ray would wrap it in its own errors."""
        number, part = int(batch["number"][0]), batch["part"][0]
        reports: Sequence[Any] = ()
        error = None
        try:
            if self._task is None:
                keep_freed_memory()
                use_one_thread()
                self._task = self._start()
            reports = do_part(part, self._task, self._notes / f"{number}.json")
        except (EmofuseError, OSError) as raised:
            error = raised
        return {"number": [number], "reports": [tuple(reports)], "error": [error]}


def do_part(part: Sequence[Item], task: PartTask[Item, Any, Report], note: Path) -> Sequence[Report]:
    """Do a part and finish it; an item at which `MAX_DEATHS` processes have died is `Died`.

    Args:
        part: Items.
        task: What is done.
        note: File that says where the last process that tried was, if it died.
    """
    deaths: dict[int, int] = {}
    if note.exists():
        before = json.loads(note.read_text())
        deaths = {int(i): n for i, n in before["deaths"].items()}
        deaths[before["at"]] = deaths.get(before["at"], 0) + 1
    outcomes: list[tuple[Item, Any]] = []
    for i, item in enumerate(part):
        if deaths.get(i, 0) >= MAX_DEATHS:
            outcomes.append((item, Died(f"{MAX_DEATHS} processes died while at it")))
            continue
        _write(note, json.dumps({"at": i, "deaths": deaths}))
        outcomes.append((item, task(item)))
    reports = task.finish(outcomes)
    note.unlink(missing_ok=True)
    return reports


def _write(path: Path, content: str) -> None:
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    partial.write_text(content)
    partial.replace(path)


def digest(content: object) -> str:
    """A name of 16 letters for what JSON can hold; the same in every process."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def run_tasks(
    cluster: Cluster, function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[tuple[int, Result]]:
    """Run a function on every item as a Ray task each, started again where its process dies.

    Yields:
        Number of the item and its result, in any order.

    Raises:
        EmofuseError, OSError: The function's own.
        ConfigError: The cluster cannot be reached.
    """
    with cluster.joined() as jobs:
        assert ray is not None
        remote = ray.remote(num_cpus=1, max_retries=MAX_DEATHS)(function)
        waiting = list(enumerate(items))[::-1]
        running: dict[Any, int] = {}
        while waiting or running:
            while waiting and len(running) < jobs:
                number, item = waiting.pop()
                running[remote.remote(item)] = number
            (first,), _ = ray.wait(list(running), num_returns=1)
            try:
                yield running.pop(first), ray.get(first)
            except ray.exceptions.RayTaskError as error:
                raise (error.cause if isinstance(error.cause, (EmofuseError, OSError)) else error) from None
