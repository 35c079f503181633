"""Arrays by key on disk: a folder of safetensors shards that many processes write at once, without locks.

Layout of a table's folder, readable with the safetensors package alone::

    shards/TIME-RANDOM.safetensors   written once, never changed; temporary names end in .partial
        keys     (n, 16) uint8       the keys' bytes
        n_rows   (n,) uint32         rows of each array, in the order of `keys`; 0: one row, given as a vector
        crc32    (n,) uint32         zlib.crc32 of each array's bytes
        values   (total, n_values)   the arrays' rows, one behind the other
    index.safetensors                made by `ShardTable.compact`, never needed: every entry of every shard
        high, low                    (n,) uint64, the key as two big-endian halves; sorted by them
        shard                        (n,) uint32, place in the JSON list `shards` of the file's metadata
        first_row, n_rows, crc32     (n,) int64, uint32, uint32

The index of a table is the union of its shards' own: a writer needs to know of no other. A reader maps
the files into memory, finds a key by bisection and reads its rows alone. The same key in two shards is no
error: keys stand for content, so that both hold the same; `compact` keeps one.
"""

import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from emofuse.errors import DataError
from emofuse.features.mapped import map_tensors, write_tensors
from emofuse.features.shard_index import (
    FORMAT,
    KEY_BYTES,
    Place,
    ShardIndex,
    checksum,
    join,
    read_index,
    read_shard,
    shard_entries,
    write_index,
)

SHARD_BYTES = 64 * 2**20
"""Size from which a shard is written."""

FLUSH_S = 30.0
"""Age in seconds of the oldest array in memory from which a shard is written: what a killed process loses."""

_ABANDONED_S = 24 * 3600.0
_MAX_MAPPED = 256  # shards that are mapped at once: a process may map some 65,000 areas


class ShardTable:
    """Key (32 hexadecimal digits) to array (n_rows, n_values) or (n_values,), on disk.

    `put` collects arrays in memory and writes a shard when they are many or old. What other processes
    have written since is seen after `refresh`. Not for several threads.

    Args:
        folder: Made at the first write.
        dtype: Of every value: float32, float16 or uint8.
        n_values: Length of every row.
        shard_bytes, flush_s: See `SHARD_BYTES` and `FLUSH_S`.

    Raises:
        DataError: A shard is damaged, or holds other rows than `n_values` of `dtype`.
    """

    def __init__(
        self,
        folder: Path,
        dtype: str,
        n_values: int,
        shard_bytes: int = SHARD_BYTES,
        flush_s: float = FLUSH_S,
    ) -> None:
        """Open it and read the index."""
        self.folder = folder
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.n_values = n_values
        self.shard_bytes = shard_bytes
        self.flush_s = flush_s
        self._pending: dict[str, np.ndarray] = {}
        self._pending_bytes = 0
        self._oldest_s = 0.0
        self._forget()
        self.refresh()

    def _forget(self) -> None:
        self._shards: list[str] = []
        self._index = ShardIndex()
        self._mapped: dict[str, np.ndarray] = {}

    @property
    def n_pending(self) -> int:
        """Arrays that are in memory only."""
        return len(self._pending)

    @property
    def n_shards(self) -> int:
        """Files of arrays on disk."""
        return len(self._shards)

    def n_rows(self, key: str) -> int:
        """Rows of the array under a key, 0 for a vector; errors as `get`."""
        if key in self._pending or (place := self._find(key)) is None:
            array = self.get(key)
            return len(array) if array.ndim == 2 else 0
        return place.n_rows

    def __contains__(self, key: str) -> bool:
        """Whether there is an array under a key."""
        return key in self._pending or self._find(key) is not None

    def __len__(self) -> int:
        """Number of keys."""
        return len(self._index) + self.n_pending

    def keys(self) -> Iterator[str]:
        """Every key: those on disk in ascending order, then those in memory."""
        yield from self._index.keys()
        yield from list(self._pending)

    def get(self, key: str) -> np.ndarray:
        """The array under a key, as it was put, of the table's dtype.

        Raises:
            DataError: There is none, or its shard is damaged.
        """
        if key in self._pending:
            return self._pending[key].copy()
        place = self._find(key)
        if place is None:
            raise DataError(f"{self.folder}: nothing under key {key}; extract it first")
        try:
            return self._read(*place)
        except FileNotFoundError:  # compacted by another process: its rows are in another shard now
            self.refresh()
        place = self._find(key)
        if place is None:
            raise DataError(f"{self.folder}: the shard of key {key} was deleted; extract it again")
        return self._read(*place)

    def get_many(self, keys: Sequence[str]) -> list[np.ndarray]:
        """The arrays under several keys; read in the order in which they lie on disk. Errors as `get`."""
        places = [None if key in self._pending else self._find(key) for key in keys]
        arrays: dict[int, np.ndarray] = {}
        try:
            for i in sorted(range(len(keys)), key=lambda i: (places[i] or (0, 0))[:2]):
                place = places[i]
                arrays[i] = self.get(keys[i]) if place is None else self._read(*place)
        except FileNotFoundError:  # compacted by another process: every place may be another one now
            return [self.get(key) for key in keys]
        return [arrays[i] for i in range(len(keys))]

    def put(self, key: str, array: np.ndarray) -> None:
        """Keep an array (n_rows, n_values) or (n_values,) under a key; one that is there already is left.

        Raises:
            DataError: The key or the array's shape is not one of this table.
            OSError: A shard cannot be written; its arrays stay in memory, `flush` tries again.
        """
        if array.ndim not in (1, 2) or array.shape[-1] != self.n_values or not len(array):
            raise DataError(f"{self.folder}: array of {array.shape}, need ({self.n_values},) or (n, {self.n_values})")
        if key in self:
            return
        self._append(key, array.astype(self.dtype))
        if self._pending_bytes >= self.shard_bytes or time.monotonic() - self._oldest_s >= self.flush_s:
            self.flush()

    def _append(self, key: str, array: np.ndarray) -> None:
        if not self._pending:
            self._oldest_s = time.monotonic()
        self._pending[key] = array
        self._pending_bytes += array.nbytes

    def flush(self) -> None:
        """Write what is in memory as a shard."""
        if not self._pending:
            return
        arrays = [np.ascontiguousarray(a) for a in self._pending.values()]
        tensors = {
            "keys": np.frombuffer(bytes.fromhex("".join(self._pending)), np.uint8).reshape(-1, KEY_BYTES),
            "n_rows": np.array([len(a) if a.ndim == 2 else 0 for a in arrays], np.uint32),
            "crc32": np.array([checksum(a) for a in arrays], np.uint32),
            "values": np.concatenate([np.atleast_2d(a) for a in arrays]),
        }
        name = f"{time.time_ns():016x}-{uuid.uuid4().hex[:16]}.safetensors"
        write_tensors(self.folder / "shards" / name, tensors, {"format": FORMAT})
        self._shards.append(name)
        self._index.add(shard_entries(tensors, len(self._shards) - 1))
        self._pending.clear()
        self._pending_bytes = 0

    def refresh(self) -> None:
        """Take in what other processes have written or compacted since.

        Raises:
            DataError: A shard is damaged; the message names it.
        """
        # A compaction may remove a shard between the listing and the reading; the next listing lacks it.
        for attempt in range(5):
            listed = sorted(p.name for p in (self.folder / "shards").glob("*.safetensors"))
            if not set(self._shards) <= set(listed):
                self._forget()
            try:
                if not self._shards and (known := read_index(self.folder / "index.safetensors", set(listed))):
                    self._shards, self._index = known[0], ShardIndex(known[1])
                new = sorted(set(listed) - set(self._shards))
                parts = [
                    read_shard(self.folder / "shards" / name, len(self._shards) + i, self.dtype, self.n_values)
                    for i, name in enumerate(new)
                ]
            except FileNotFoundError:
                if attempt == 4:
                    raise
                continue
            self._shards += new
            if parts:
                self._index.add(join(parts))
            return

    def _find(self, key: str) -> Place | None:
        """Where a key's array lies on disk, None where it does not."""
        try:
            return self._index.find(key)
        except ValueError:
            raise DataError(f"{self.folder}: key {key!r}, need {2 * KEY_BYTES} hexadecimal digits") from None

    def _read(self, shard: int, first_row: int, n_rows: int, crc32: int) -> np.ndarray:
        name = self._shards[shard]
        path = self.folder / "shards" / name
        if name not in self._mapped:
            if len(self._mapped) >= _MAX_MAPPED:
                self._mapped.pop(next(iter(self._mapped)))
            self._mapped[name] = map_tensors(path)[0]["values"]
        rows = self._mapped[name][first_row : first_row + max(n_rows, 1)]
        if checksum(rows) != crc32:
            raise DataError(f"{path}: damaged, a checksum differs; delete it, what it held is computed anew")
        return rows.copy() if n_rows else rows[0].copy()

    def compact(self) -> int:
        """Join small shards to large ones and write the index, so that the table opens fast.

        Other processes may read and write meanwhile, and compact too: a shard is removed only after what
        it held is on disk elsewhere.

        Returns:
            Number of shards that were joined.
        """
        self.flush()
        self.refresh()
        files = [self.folder / "shards" / name for name in self._shards]
        try:
            small = [file for file in files if file.stat().st_size < self.shard_bytes / 2]
            if len(small) < 2:
                small = []
            self._rewrite({file.name for file in small})
        except FileNotFoundError:  # another process is joining them; what we hold stays valid
            small = []
            self.flush()
        self._forget()  # unmaps: some systems cannot remove a mapped file
        for file in (*small, *self._abandoned()):
            file.unlink(missing_ok=True)
        self.refresh()
        if len(self._index):
            write_index(self.folder / "index.safetensors", self._shards, self._index)
        return len(small)

    def _abandoned(self) -> list[Path]:
        """Temporary files of processes that were killed: none writes for as long as this."""
        partial = (self.folder / "shards").glob("*.partial")
        return [file for file in partial if file.stat().st_mtime < time.time() - _ABANDONED_S]

    def _rewrite(self, small: set[str]) -> None:
        """Write the arrays of some shards anew, to shards of full size."""
        if not small:
            return
        numbers = [i for i, name in enumerate(self._shards) if name in small]
        for key, place in self._index.of_shards(numbers):
            self._append(key, self._read(*place))
            if self._pending_bytes >= self.shard_bytes:
                self.flush()
        self.flush()
