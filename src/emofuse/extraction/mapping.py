"""What an extraction leaves beside the arrays: which array is whose, and what failed. And the way back.

In the feature's folder of the store::

    utterances.parquet/CORPUS-HASH.parquet   corpus, id, key, n_rows. A file an extraction, HASH is of its
                                             ids; pandas and pyarrow read the folder as one table
    failures.csv                             id, corpus, reason: of the last extraction
"""

import csv
import hashlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from emofuse.corpora.utterance import Utterance
from emofuse.errors import DataError
from emofuse.extraction.sources import Source, source_key, source_of
from emofuse.extraction.workers import Died
from emofuse.features.store import FeatureStore
from emofuse.features.table import FeatureTable

_MAPPING = pa.schema([("corpus", pa.string()), ("id", pa.string()), ("key", pa.string()), ("n_rows", pa.int64())])
_ROW_GROUP = 50_000


@dataclass(frozen=True)
class Event:
    """What became of one utterance.

    Attributes:
        id, corpus: The utterance.
        status: ``done``: computed; ``found``: was stored already; ``failed``.
        key: In the store; None when failed before it was known.
        n_rows: Rows of its array; 0 for one vector.
        reason: Why it failed, one line; else empty.
    """

    id: str
    corpus: str
    status: Literal["done", "found", "failed"]
    key: str | None = None
    n_rows: int = 0
    reason: str = ""


def event_of(source: Source, result: Event | Died) -> Event:
    """What became of a source, also if its process died."""
    if isinstance(result, Died):
        return Event(source.id, source.corpus, "failed", reason=f"{source.path or source.id}: {result.reason}")
    return result


def extraction_name(utterances: Sequence[Utterance]) -> str:
    """The same for the same utterances: an extraction that is repeated replaces its file, others keep theirs."""
    digest = hashlib.sha256()
    for u in utterances:
        digest.update(f"{u.corpus}\0{u.id}\0".encode())
    corpora = sorted({u.corpus for u in utterances})
    name = corpora[0] if len(corpora) == 1 else f"{len(corpora)}-corpora"
    return f"{name}-{digest.hexdigest()[:12]}.parquet"


@contextmanager
def mapping_writer(path: Path) -> Iterator[Callable[[Event], None]]:
    """A function that adds a row to a Parquet file, which gets its name when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"_{path.name}.{uuid.uuid4().hex[:8]}.partial")  # _: not part of the table
    rows: list[dict[str, Any]] = []
    try:
        with pq.ParquetWriter(temporary, _MAPPING) as writer:

            def write(event: Event) -> None:
                rows.append({"corpus": event.corpus, "id": event.id, "key": event.key, "n_rows": event.n_rows})
                if len(rows) >= _ROW_GROUP:
                    writer.write_table(pa.Table.from_pylist(rows, _MAPPING))
                    rows.clear()

            yield write
            writer.write_table(pa.Table.from_pylist(rows, _MAPPING))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_failures(path: Path, failed: Sequence[Event]) -> None:
    """A csv file of id, corpus and reason; the header alone when nothing failed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "corpus", "reason"))
        writer.writerows((e.id, e.corpus, e.reason) for e in failed)
    temporary.replace(path)


def utterance_keys(table: FeatureTable) -> dict[tuple[str, str], str]:
    """Corpus and id of every utterance that was extracted to its key; of one that changed, the newest."""
    files = sorted((table.folder / "utterances.parquet").glob("*.parquet"), key=lambda p: p.stat().st_mtime_ns)
    rows = (row for path in files for row in pq.read_table(path).to_pylist())
    return {(row["corpus"], row["id"]): row["key"] for row in rows}


def load_features(store: FeatureStore, feature: str, utterances: Sequence[Utterance]) -> dict[str, np.ndarray]:
    """Utterance id to its stored array, float32 (n_rows, n_values) or (n_values,).

    A file that is not here (features may be handed on without the recordings) is taken to be the one that
    the utterance was extracted from.

    Args:
        store: What `extract` filled.
        feature: Name of the feature, or of its folder where several settings are stored.
        utterances: Ids must differ.

    Raises:
        DataError: The feature, or an utterance's, is not stored; or a shard is damaged.
    """
    table = store.find(feature)
    table.refresh()
    keys: dict[str, str] = {}
    absent: list[str] = []
    known: dict[tuple[str, str], str] | None = None
    for u in utterances:
        source = source_of(u, table.info.modality)
        if source.path is None or source.path.exists():
            key = source_key(source, store)
        else:
            known = utterance_keys(table) if known is None else known
            key = known.get((u.corpus, u.id), "")
        if key and key in table:
            keys[u.id] = key
        else:
            absent.append(u.id)
    if absent:
        of = f"{len(absent)} of {len(utterances)} utterances ({absent[0]}, ...)"
        raise DataError(f"{table.folder}: {of} are not stored; run emofuse extract {table.info.name} on them")
    return dict(zip(keys, table.get_many(list(keys.values())), strict=True))
