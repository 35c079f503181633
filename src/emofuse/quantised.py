"""Weights in 8 bits a value: a quarter of float32's size, for networks that ship."""

from collections.abc import Mapping

import numpy as np

SCALE = ":scale"
"""Ending of the name under which a packed matrix keeps its rows' scales."""


def pack(arrays: Mapping[str, np.ndarray], min_size: int = 4096) -> dict[str, np.ndarray]:
    """Round every large matrix to int8 with a scale a row; the rest becomes float16.

    The largest value of a row becomes ±127, so that a value is off by at most 1/254 of its row's largest.

    Args:
        arrays: Name to floats of any shape; rows are along the first axis. Others are kept as they are.
        min_size: Arrays of fewer values, and those of one dimension, are not rounded to int8.
    """
    packed: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if not np.issubdtype(array.dtype, np.floating):
            packed[name] = array
        elif array.ndim < 2 or array.size < min_size:
            packed[name] = array.astype(np.float16)
        else:
            rows = array.reshape(len(array), -1).astype(np.float32)
            scale = np.maximum(np.abs(rows).max(axis=1), 1e-12) / 127
            packed[name] = np.rint(rows / scale[:, None]).astype(np.int8).reshape(array.shape)
            packed[name + SCALE] = scale.astype(np.float32)
    return packed


def unpack(packed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inverse of `pack`, in float32; what was never packed comes back as it is, half precision as float32."""
    arrays: dict[str, np.ndarray] = {}
    for name, array in packed.items():
        if name.endswith(SCALE):
            continue
        scale = packed.get(name + SCALE)
        if scale is not None:
            arrays[name] = array.astype(np.float32) * scale.reshape(-1, *[1] * (array.ndim - 1))
        else:
            arrays[name] = array.astype(np.float32) if array.dtype == np.float16 else array
    return arrays
