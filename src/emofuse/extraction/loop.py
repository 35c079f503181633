"""The utterances of a corpus through an extractor, into a feature store."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from emofuse.corpora.utterance import Utterance
from emofuse.errors import DataError
from emofuse.extraction.mapping import Event, event_of, extraction_name, mapping_writer, write_failures
from emofuse.extraction.sources import Source, read_source, source_key, source_of
from emofuse.extraction.workers import Died, run_in_processes
from emofuse.features.extractor import Extractor
from emofuse.features.store import FeatureStore

if TYPE_CHECKING:
    from emofuse.extraction.cluster import Cluster
    from emofuse.extraction.export import ExportTask

MANY_SHARDS = 64
"""Shards of a feature from which an extraction ends with compacting them."""

# What a file or text can make a reader or a network raise. A ConfigError, a full disk or a bug ends the extraction.
_FAILURES = (DataError, OSError, ValueError, RuntimeError)


@dataclass(frozen=True)
class ExtractionReport:
    """What an extraction did.

    Attributes:
        folder: The feature's folder.
        n_done: Utterances that were computed.
        n_found: Utterances that were stored already.
        failures: Id and reason of the others.
    """

    folder: Path
    n_done: int
    n_found: int
    failures: tuple[tuple[str, str], ...]


class _Task:
    """Sources to arrays in the store, in one process."""

    def __init__(self, extractor: Extractor, store: FeatureStore) -> None:
        self._extractor = extractor
        self._store = store
        self._table = store.table(extractor)

    def __call__(self, source: Source) -> Event:
        """Look a source up, or compute and put it."""
        try:
            key = source_key(source, self._store)
        except DataError as error:
            return Event(source.id, source.corpus, "failed", reason=_one_line(error))
        if key in self._table:
            return Event(source.id, source.corpus, "found", key, self._table.n_rows(key))
        try:
            array = self._extractor(read_source(source, self._extractor))
            self._table.check(array)
        except _FAILURES as error:
            return Event(source.id, source.corpus, "failed", key, reason=_one_line(error))
        self._table.put(key, array)
        return Event(source.id, source.corpus, "done", key, len(array) if array.ndim == 2 else 0)

    @property
    def n_unsaved(self) -> int:
        """Arrays in memory."""
        return self._table.n_pending

    def flush(self) -> None:
        """Write them, and the hashes of files."""
        self._store.flush()


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no further message"
    return text if isinstance(error, DataError) else f"{type(error).__name__}: {text}"


def _opener(store: FeatureStore) -> Callable[[], FeatureStore]:
    """What opens the store in another process."""
    return partial(FeatureStore, store.folder, store.precision, store.shard_bytes, store.flush_s)


def _start_task(make: Callable[[], Extractor], open_store: Callable[[], FeatureStore]) -> _Task:
    return _Task(make(), open_store())


def extract(
    utterances: Sequence[Utterance],
    make_extractor: Callable[[], Extractor],
    store: FeatureStore,
    jobs: int = 1,
    on_event: Callable[[Event], None] | None = None,
    out: Path | None = None,
    cluster: "Cluster | None" = None,
    export: Path | None = None,
) -> ExtractionReport:
    """Compute one feature of every utterance that the store does not hold yet.

    Several calls, in several processes or on several machines, may fill one store at the same time. A call
    that is interrupted or killed is gone on with by the same call.

    Args:
        utterances: Of one or more corpora.
        make_extractor: Makes the extractor; called once here and once in each process, picklable if `jobs` > 1.
        store: Where to.
        jobs: Processes; 1: this one alone, so that a decoder that crashes ends it.
        on_event: Called after each utterance, in any order if `jobs` > 1.
        out: Folder of `failures.csv`; default the feature's own.
        cluster: Ray cluster to work on, whose machines see the same files; None: `jobs` processes here.
        export: With a cluster, a folder to which its actors write the features as Parquet, a part a file; what
            other extractions have left there is removed.

    Raises:
        ConfigError: The extractor cannot be made.
        DataError: The store is damaged.
        OSError: The store cannot be written.
    """
    extractor = make_extractor()
    table = store.table(extractor)
    report: Callable[[Event], None] = on_event or (lambda _: None)
    failed: list[Event] = []
    counts = {"done": 0, "found": 0}

    def sources() -> Iterator[Source]:
        for u in utterances:
            try:
                yield source_of(u, table.info.modality)
            except DataError as error:
                failed.append(Event(u.id, u.corpus, "failed", reason=str(error)))
                report(failed[-1])

    if cluster is not None:
        results = _on_cluster(list(sources()), make_extractor, store, cluster, report, export)
    elif jobs > 1:
        size = max(1, min(16, len(utterances) // (4 * jobs)))
        results = _in_processes(sources(), make_extractor, store, jobs, report, size)
    else:
        results = _in_this_process(sources(), _Task(extractor, store), report)
    path = table.folder / "utterances.parquet" / extraction_name(utterances)
    try:
        with closing(results), mapping_writer(path) as write:
            for event in results:
                if event.status == "failed":
                    failed.append(event)
                else:
                    counts[event.status] += 1
                    write(event)
            store.flush()  # before the mapping gets its name: what it names is there
    finally:
        store.flush()
    table.refresh()
    if table.n_shards >= MANY_SHARDS:
        table.compact()
    write_failures((out or table.folder) / "failures.csv", failed)
    return ExtractionReport(table.folder, counts["done"], counts["found"], tuple((e.id, e.reason) for e in failed))


def _in_this_process(
    sources: Iterator[Source], task: _Task, report: Callable[[Event], None]
) -> Generator[Event, None, None]:
    for source in sources:
        event = task(source)
        report(event)
        yield event


def _in_processes(
    sources: Iterator[Source],
    make: Callable[[], Extractor],
    store: FeatureStore,
    jobs: int,
    report: Callable[[Event], None],
    batch_size: int,
) -> Generator[Event, None, None]:
    start = partial(_start_task, make, _opener(store))
    for source, result in run_in_processes(sources, start, jobs, report, batch_size):
        event = event_of(source, result)
        if isinstance(result, Died):
            report(event)
        yield event


def _on_cluster(
    sources: Sequence[Source],
    make: Callable[[], Extractor],
    store: FeatureStore,
    cluster: "Cluster",
    report: Callable[[Event], None],
    export: Path | None,
) -> Generator[Event, None, None]:
    from emofuse.extraction.cluster import parts_of, run_parts  # loads Ray
    from emofuse.extraction.export import part_name, remove_others

    start = partial(_start_part_task, make, _opener(store), export)
    written: set[str] = set()
    for events in run_parts(cluster, parts_of(sources), start, store.folder / "_notes"):
        written.add(part_name(events))
        for event in events:
            report(event)
            yield event
    if export is not None:
        remove_others(export, written)


def _start_part_task(
    make: Callable[[], Extractor], open_store: Callable[[], FeatureStore], export: Path | None
) -> "ExportTask":
    from emofuse.extraction.export import ExportTask

    extractor, store = make(), open_store()
    return ExportTask(_Task(extractor, store), store.table(extractor), export)
