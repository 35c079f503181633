"""The features of an extraction on a cluster as Parquet: a folder of parts, a row an utterance."""

from collections.abc import Sequence
from pathlib import Path

from emofuse.extraction.cluster import digest
from emofuse.extraction.mapping import Event, event_of
from emofuse.extraction.sources import Source
from emofuse.extraction.workers import Died, Task
from emofuse.features.table import FeatureTable


def part_name(events: Sequence[Event]) -> str:
    """File name of the part that holds what was extracted of these utterances: of their ids and keys."""
    return f"part-{digest([(e.corpus, e.id, e.key) for e in events if e.status != 'failed'])}.parquet"


class ExportTask:
    """An extraction whose parts are written as Parquet too.

    Args:
        task: Sources to arrays in the store.
        table: Of the store, where it puts them.
        folder: Where the parts go; None: nowhere.
    """

    def __init__(self, task: Task[Source, Event], table: FeatureTable, folder: Path | None) -> None:
        """Remember."""
        self._task, self._table, self._folder = task, table, folder

    def __call__(self, item: Source, /) -> Event:
        """What became of one source."""
        return self._task(item)

    def finish(self, outcomes: Sequence[tuple[Source, Event | Died]], /) -> list[Event]:
        """Write the arrays in memory, then the part, if it is not there."""
        self._task.flush()
        events = [event_of(source, result) for source, result in outcomes]
        good = {e.id: e.key for e in events if e.status != "failed" and e.key is not None}
        if self._folder is not None and good:
            path = self._folder / part_name(events)
            if not path.exists():
                self._folder.mkdir(parents=True, exist_ok=True)
                self._table.to_parquet(path, good)
        return events


def remove_others(folder: Path, kept: set[str]) -> None:
    """Remove parts that are not of this extraction, and what killed processes have left unfinished."""
    for path in [*folder.glob("part-*.parquet"), *folder.glob("_part-*.partial")]:
        if path.name not in kept:
            path.unlink(missing_ok=True)
