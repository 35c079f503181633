"""Files of arrays, readable with safetensors, that are written whole or not at all and mapped into memory."""

import json
import os
import uuid
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from emofuse.errors import DataError

Tensors = dict[str, np.ndarray]
"""The arrays of a file, by name."""

_DTYPES = {"U8": "u1", "U32": "<u4", "U64": "<u8", "I16": "<i2", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8"}


def map_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
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


def write_tensors(path: Path, tensors: Tensors, metadata: dict[str, str]) -> None:
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
