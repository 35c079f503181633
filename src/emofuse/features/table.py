"""One stored feature: what it is, its arrays by key, and its export to Parquet."""

import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from emofuse.errors import ConfigError, DataError
from emofuse.features.extractor import Extractor
from emofuse.features.shards import ShardTable

VALUES_VERSION = 1
"""To be raised when the same settings give other values: what was stored before is then computed anew."""

_EXPORT_BYTES = 32 * 2**20  # of a row group of an exported Parquet file

Precision = Literal["float32", "float16"]


@dataclass(frozen=True)
class FeatureInfo:
    """What `feature.json` says: an `Extractor` less its function, and how its values are stored.

    Attributes:
        name, modality, dimensions, rate_hz, unit, settings, frame_rate, licence: See `Extractor`.
        precision: ``float32`` or ``float16``.
        values_version: `VALUES_VERSION` when the feature was first stored.
        emofuse_version: The package's version then; only for the reader.
    """

    name: str
    modality: Literal["speech", "visual", "text"]
    dimensions: tuple[str, ...]
    rate_hz: float | None
    unit: str
    settings: Mapping[str, Any]
    frame_rate: float | None
    licence: str
    precision: Precision = "float32"
    values_version: int = VALUES_VERSION
    emofuse_version: str = ""

    @classmethod
    def of(cls, extractor: Extractor, precision: Precision = "float32") -> Self:
        """What describes an extractor's values.

        Raises:
            ConfigError: Two dimensions have the same name, or a setting is not a JSON value.
        """
        names = extractor.dimensions
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"{extractor.name}: two dimensions are named {twice!r}, need different names")
        try:
            settings = json.loads(json.dumps(dict(extractor.settings), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{extractor.name}: settings that are not JSON values ({error})") from None
        return cls(
            extractor.name,
            extractor.modality,
            names,
            extractor.rate_hz,
            extractor.unit,
            settings,
            extractor.frame_rate,
            extractor.licence,
            precision,
            emofuse_version=version("emofuse"),
        )

    @property
    def folder(self) -> str:
        """Name of the feature's folder: its name and a hash of all that its values depend on."""
        content = asdict(self)
        for said_only in ("unit", "licence", "emofuse_version"):
            del content[said_only]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return f"{re.sub(r'[^A-Za-z0-9._]+', '_', self.name)}-{digest[:12]}"


def read_info(path: Path) -> FeatureInfo:
    """The content of a `feature.json`.

    Raises:
        DataError: It is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return FeatureInfo(**{**content, "dimensions": tuple(content["dimensions"])})
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{path}: damaged, or written by another version of emofuse") from None


class FeatureTable(ShardTable):
    """One feature's arrays by key: float32 (n_rows, n_values), or (n_values,) for one vector an utterance.

    Made by `FeatureStore.table` and `FeatureStore.find`.

    Attributes:
        info: What is stored.
    """

    def __init__(self, folder: Path, info: FeatureInfo, shard_bytes: int, flush_s: float) -> None:
        """Open it."""
        super().__init__(folder, info.precision, len(info.dimensions), shard_bytes, flush_s)
        self.info = info

    def get(self, key: str) -> np.ndarray:
        """The array under a key; errors as `ShardTable.get`."""
        return super().get(key).astype(np.float32, copy=False)

    def get_many(self, keys: Sequence[str]) -> list[np.ndarray]:
        """The arrays under several keys; errors as `ShardTable.get_many`."""
        return [array.astype(np.float32, copy=False) for array in super().get_many(keys)]

    def put(self, key: str, array: np.ndarray) -> None:
        """Keep an array; errors as `ShardTable.put` and `check`."""
        self.check(array)
        super().put(key, array)

    def check(self, array: np.ndarray) -> None:
        """Refuse what cannot be stored.

        Raises:
            DataError: A value is NaN, infinite or, in a store of float16, beyond its range of ±65504.
        """
        n_bad = array.size - int(np.isfinite(array).sum())
        if n_bad:
            raise DataError(f"{self.info.name}: {n_bad} of {array.size} values are NaN or infinite")
        largest = float(np.abs(array).max(initial=0))
        if largest > float(np.finfo(self.dtype).max):
            raise DataError(f"{self.info.name}: {largest:g} is beyond the range of {self.dtype}, store float32")

    def to_table(self, ids: Mapping[str, str] | None = None) -> pa.Table:
        """All features in memory as one table, see `to_parquet`."""
        ids = {key: key for key in self.keys()} if ids is None else ids
        return pa.Table.from_batches(self._batches(ids), self._schema())

    def to_parquet(self, path: Path, ids: Mapping[str, str] | None = None) -> None:
        """Export to one Parquet file, in bounded memory.

        The columns are ``id`` and one a dimension (vectors), or ``id`` and ``values``, a list of rows (sequences);
        the schema's metadata hold ``feature.json`` under ``emofuse``.

        Args:
            path: Replaced if it exists.
            ids: Utterance id to key; None: every key, as its own id.

        Raises:
            DataError: A key is not there, or a vector's dimension is called ``id``.
        """
        ids = {key: key for key in self.keys()} if ids is None else ids
        partial = path.with_name(f"_{path.name}.{uuid.uuid4().hex[:8]}.partial")  # _: not read as part of a folder
        try:
            with pq.ParquetWriter(partial, self._schema()) as writer:
                for batch in self._batches(ids):
                    writer.write_batch(batch)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @property
    def _vectors(self) -> bool:
        """Whether every array is one vector, which is known from any one of them."""
        key = next(self.keys(), None)
        return self.info.rate_hz is None and (key is None or self.get(key).ndim == 1)

    def _schema(self) -> pa.Schema:
        if self._vectors and "id" in self.info.dimensions:
            raise DataError(f"{self.info.name}: a dimension is called id, as the column of the utterances")
        number = pa.float16() if self.info.precision == "float16" else pa.float32()
        names = self.info.dimensions if self._vectors else ("values",)
        kind = number if self._vectors else pa.list_(pa.list_(number))
        fields = [pa.field("id", pa.string()), *(pa.field(name, kind) for name in names)]
        return pa.schema(fields, {"emofuse": json.dumps(asdict(self.info))})

    def _batches(self, ids: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
        """Row groups of about `_EXPORT_BYTES`."""
        schema = self._schema()
        group: dict[str, np.ndarray] = {}
        size = 0
        for utterance_id, key in ids.items():
            group[utterance_id] = self.get(key).astype(self.dtype)
            size += group[utterance_id].nbytes
            if size >= _EXPORT_BYTES:
                yield _batch(group, schema, self._vectors)
                group, size = {}, 0
        if group:
            yield _batch(group, schema, self._vectors)


def _batch(group: Mapping[str, np.ndarray], schema: pa.Schema, vectors: bool) -> pa.RecordBatch:
    arrays = list(group.values())
    if vectors:
        columns = [pa.array(column) for column in np.ascontiguousarray(np.stack(arrays).T)]
    else:
        rows = np.concatenate([np.atleast_2d(a) for a in arrays])
        starts = np.cumsum([0, *(len(np.atleast_2d(a)) for a in arrays)])
        inner = pa.ListArray.from_arrays(np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1], rows.ravel())
        columns = [pa.ListArray.from_arrays(starts.astype(np.int32), inner)]
    return pa.RecordBatch.from_arrays([pa.array(list(group), pa.string()), *columns], schema=schema)
