"""Files of arrays that are mapped into memory, and the sorted index of what is in them."""

import json
import os
import uuid
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from emofuse.errors import DataError

FORMAT = "emofuse-shard-1"
COLUMNS = ("high", "low", "shard", "first_row", "n_rows", "crc32")
"""Arrays of an index, one entry a key: the key's halves, its shard's number, its place there, its checksum."""

Columns = dict[str, np.ndarray]
"""A (part of an) index: the arrays named by `COLUMNS`, sorted by (high, low), no key twice."""

_DTYPES = {"U8": "u1", "U32": "<u4", "U64": "<u8", "I16": "<i2", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8"}


def map_tensors(path: Path) -> tuple[Columns, dict[str, str]]:
    """Every tensor of a safetensors file as a read-only view of the mapped file, and the file's metadata.

    Raises:
        DataError: The file is damaged.
        FileNotFoundError: It is gone: compacted by another process.
    """
    try:
        with safe_open(path, framework="numpy") as checked:  # holds the header against the file's size
            metadata = checked.metadata() or {}
        whole = np.asarray(np.memmap(path, np.uint8, "r"))
        start = 8 + int.from_bytes(whole[:8].tobytes(), "little")
        header = json.loads(whole[8:start].tobytes())
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            first, last = entry["data_offsets"]
            view = whole[start + first : start + last].view(_DTYPES[entry["dtype"]])
            tensors[name] = view.reshape(entry["shape"])
    except (SafetensorError, KeyError):  # KeyError: a dtype that no shard of ours has
        raise DataError(f"{path}: damaged or no shard of ours; delete it, what it held is computed anew") from None
    return tensors, metadata


def write_tensors(path: Path, tensors: Columns, metadata: dict[str, str]) -> None:
    """Write a safetensors file under a temporary name, see that it is on the disk, and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        save_file(tensors, partial, metadata)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # otherwise a power cut leaves the new name with nothing in it
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def checksum(array: np.ndarray) -> int:
    """zlib.crc32 of a contiguous array's bytes."""
    return zlib.crc32(array.data)


def shard_entries(tensors: Columns, shard: int) -> Columns:
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
