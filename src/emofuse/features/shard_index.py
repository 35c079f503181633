"""Where in the shards of a table each key's array lies: what a shard and the compacted index say, sorted by key."""

import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emofuse.errors import DataError
from emofuse.features.mapped import Tensors, map_tensors, write_tensors

FORMAT = "emofuse-shard-1"
COLUMNS = ("high", "low", "shard", "first_row", "n_rows", "crc32")
"""Arrays of an index, one entry a key: the key's halves, its shard's number, its place there, its checksum."""

Columns = Tensors
"""A (part of an) index: the arrays named by `COLUMNS`, sorted by (high, low), no key twice."""

_DTYPES = (np.uint64, np.uint64, np.uint32, np.int64, np.uint32, np.uint32)
_NOTHING = {name: np.empty(0, dtype) for name, dtype in zip(COLUMNS, _DTYPES, strict=True)}

KEY_BYTES = 16
"""128 bits of a sha256: 10^9 keys collide with a probability of 10^-21."""


class Place(NamedTuple):
    """Where an array is: the number of its shard, its rows there (0: one row, given as a vector), its checksum."""

    shard: int
    first_row: int
    n_rows: int
    crc32: int


class ShardIndex:
    """The places of keys; entries are added part by part, as shards are written or found.

    Args:
        parts: What is known at first.
    """

    def __init__(self, *parts: Columns) -> None:
        """Take them in."""
        self._segments: list[Columns] = []  # the longest first, each at least twice as long as the next
        for part in parts:
            self.add(part)

    def add(self, columns: Columns) -> None:
        """Add entries, joining the last segments until each is twice as long as the next."""
        segments = [*self._segments, columns] if len(columns["high"]) else self._segments
        while len(segments) > 1 and len(segments[-2]["high"]) < 2 * len(segments[-1]["high"]):
            segments[-2:] = [join(segments[-2:])]
        self._segments = segments

    def whole(self) -> Columns:
        """All entries as one."""
        if len(self._segments) > 1:
            self._segments = [join(self._segments)]
        return self._segments[0] if self._segments else _NOTHING

    def __len__(self) -> int:
        """Number of keys."""
        return len(self.whole()["high"])

    def keys(self) -> Iterator[str]:
        """Every key in ascending order."""
        columns = self.whole()
        for high, low in zip(columns["high"], columns["low"], strict=True):
            yield f"{high:016x}{low:016x}"

    def find(self, key: str) -> Place | None:
        """Where a key's array is; None: there is none.

        Raises:
            ValueError: It is no key.
        """
        if len(key) != 2 * KEY_BYTES:
            raise ValueError(key)
        high, low = np.uint64(int(key[:16], 16)), np.uint64(int(key[16:], 16))
        for c in self._segments:
            i = int(c["high"].searchsorted(high))
            while i < len(c["high"]) and c["high"][i] == high:
                if c["low"][i] == low:
                    return Place(*(int(c[name][i]) for name in COLUMNS[2:]))
                i += 1
        return None

    def of_shards(self, numbers: Sequence[int]) -> Iterator[tuple[str, Place]]:
        """Keys and places of what lies in some shards, in the order in which it lies there."""
        columns = self.whole()
        chosen = np.flatnonzero(np.isin(columns["shard"], numbers))
        for i in chosen[np.lexsort((columns["first_row"][chosen], columns["shard"][chosen]))]:
            yield (
                f"{columns['high'][i]:016x}{columns['low'][i]:016x}",
                Place(*(int(columns[c][i]) for c in COLUMNS[2:])),
            )


def checksum(array: np.ndarray) -> int:
    """zlib.crc32 of a contiguous array's bytes."""
    return zlib.crc32(array.data)


def read_shard(path: Path, number: int, dtype: np.dtype, n_values: int) -> Columns:
    """The index of one shard, once its arrays are seen to be what a table holds.

    Raises:
        DataError: It is damaged, or holds other rows than `n_values` of `dtype`.
        FileNotFoundError: It is gone: compacted by another process.
    """
    tensors, metadata = map_tensors(path)
    if metadata.get("format") != FORMAT or set(tensors) != {"keys", "n_rows", "crc32", "values"}:
        raise DataError(f"{path}: damaged or no shard of ours; delete it, what it held is computed anew")
    values = tensors["values"]
    total = int(np.maximum(tensors["n_rows"], 1).sum(dtype=np.int64))
    if values.dtype != dtype or values.shape != (total, n_values):
        need = f"({total}, {n_values}) {dtype}"
        raise DataError(f"{path}: values {values.shape} {values.dtype}, need {need}; delete it")
    return shard_entries(tensors, number)


def read_index(path: Path, listed: Collection[str]) -> tuple[list[str], Columns] | None:
    """The shards and entries of a compacted index, less those of shards that are gone; None where there is no index.

    Raises:
        DataError: It is damaged.
    """
    if not path.exists():
        return None
    columns, metadata = map_tensors(path)
    if metadata.get("format") != FORMAT or set(columns) != set(COLUMNS):
        raise DataError(f"{path}: damaged or no index of ours; delete it, it is not needed")
    names = json.loads(metadata["shards"])
    here = np.array([name in listed for name in names])
    if not here.all():
        kept = here[columns["shard"]]
        columns = {name: column[kept] for name, column in columns.items()}
        columns["shard"] = (np.cumsum(here) - 1).astype(np.uint32)[columns["shard"]]
        names = [name for name in names if name in listed]
    return names, columns


def write_index(path: Path, shards: Sequence[str], index: ShardIndex) -> None:
    """Write the compacted index of shards by their names, in the order of their numbers."""
    write_tensors(path, dict(index.whole()), {"format": FORMAT, "shards": json.dumps(list(shards))})


def shard_entries(tensors: Tensors, shard: int) -> Columns:
    """The index of one shard."""
    halves = tensors["keys"].copy().view(">u8").astype(np.uint64)
    n_rows = tensors["n_rows"].copy()
    stored = np.maximum(n_rows, 1).astype(np.int64)
    return join(
        [
            {
                "high": halves[:, 0],
                "low": halves[:, 1],
                "shard": np.full(len(n_rows), shard, np.uint32),
                "first_row": np.cumsum(stored) - stored,
                "n_rows": n_rows,
                "crc32": tensors["crc32"].copy(),
            }
        ]
    )


def join(parts: Sequence[Columns]) -> Columns:
    """One sorted index of several; of a key that is in two, the first one's entry."""
    whole = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
    order = np.lexsort((whole["low"], whole["high"]))  # stable: equal keys keep their order
    whole = {name: column[order] for name, column in whole.items()}
    first = np.ones(len(order), bool)
    first[1:] = (whole["high"][1:] != whole["high"][:-1]) | (whole["low"][1:] != whole["low"][:-1])
    return whole if first.all() else {name: column[first] for name, column in whole.items()}
