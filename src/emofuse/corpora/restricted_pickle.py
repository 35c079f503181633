"""Pickles of research code, read without running what is in them.

A pickle is a program. This reader lets it build plain containers and numpy arrays and nothing else:
each name that it asks for is either a stand-in of ours, which checks what it is given, or refused.
numpy's own functions are not handed out, because an array or dtype with a forged state can make
numpy read memory that is not its own. A forged file can still end the process, by tuples nested a
million deep that Python cannot hash; it cannot make it run anything.
"""

import math
import mmap
import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.errors import DataError

_ADMITTED = "only numpy arrays and plain containers are admitted"
_DTYPE_CODE = re.compile(r"[biufcSUO?]\d{0,9}")
_LENGTH_BYTES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_OPCODES = {ord(opcode.code): opcode for opcode in pickletools.opcodes}


class RefusedError(Exception):
    """The pickle asks for something that plain data does not need."""


def load_restricted(path: Path) -> Any:
    """Content of a pickle of plain containers, text, numbers and numpy arrays, of Python 2 or 3.

    Byte strings of Python 2 become text as latin-1. Arrays may be of a subclass of `numpy.ndarray`;
    `float_array` makes plain ones of them.

    Raises:
        DataError: The file is missing, damaged, or asks for anything else; the message names it.
    """
    try:
        with path.open("rb") as file, _mapped(file.fileno()) as data:
            _scan(data)
            return _Unpickler(data, encoding="latin-1").load()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except RefusedError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:
        # A damaged pickle may raise any error at all; whichever it is, the file is at fault.
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(f"{path}: not a readable pickle ({reason}); get the file again") from None


def float_array(value: Any, where: str) -> np.ndarray:
    """An array, or a list of arrays of one shape, as a plain float32 array.

    Args:
        value: What a pickle held.
        where: File and field, for the error message.

    Raises:
        DataError: It is something else, for example an array of Python objects.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise DataError(f"{where}: parts of different shapes; need one shape") from None
    if array.dtype.kind not in "fiub":
        kind = "array" if isinstance(value, np.ndarray) else type(value).__name__
        raise DataError(f"{where}: {kind} of {array.dtype}; need an array of numbers")
    # A float64 beyond float32 becomes infinity, which the callers look for.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def is_list(value: Any) -> bool:
    """Whether a value of a pickle has rows: a list, a tuple or an array of at least one dimension."""
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _mapped(file_number: int) -> mmap.mmap:
    try:
        return mmap.mmap(file_number, 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise RefusedError("empty file; need a pickle") from None


def _scan(data: mmap.mmap) -> None:
    """Walk over the opcodes before any is run, for what the unpickler itself does not withstand.

    It allocates a string's declared size and a memo of twice the largest declared number: a few
    bytes can so demand all memory. And it takes extension codes from a table of the process.
    """
    position, count = 0, 0
    while True:
        count += 1
        opcode = _OPCODES.get(data[position]) if position < len(data) else None
        if opcode is None:
            raise RefusedError(f"not a pickle, or cut short (byte {position} of {len(data)}); get the file again")
        start = position + 1
        position = _end_of_argument(data, opcode, start)
        if position > len(data):
            raise RefusedError(f"cut short: {opcode.name} at byte {start - 1} goes past the end; get the file again")
        if opcode.name.startswith("EXT"):
            raise RefusedError(f"refuses extension code {opcode.name}; {_ADMITTED}")
        # A pickler numbers its memo 0, 1, 2 …, so no number exceeds the count of opcodes.
        if opcode.name == "LONG_BINPUT" and int.from_bytes(data[start:position], "little") > count:
            raise RefusedError("refuses a memo number beyond the file's size; get the file again")
        if opcode.name == "PUT" and int(data[start:position]) > count:
            raise RefusedError("refuses a memo number beyond the file's size; get the file again")
        if opcode.name == "STOP":
            return


def _end_of_argument(data: mmap.mmap, opcode: pickletools.OpcodeInfo, start: int) -> int:
    """Position behind an opcode's argument; beyond the data where the argument is cut short."""
    if opcode.arg is None:
        return start
    if opcode.arg.n >= 0:
        return start + opcode.arg.n
    if opcode.arg.n == pickletools.UP_TO_NEWLINE:
        for _ in range(2 if opcode.name in ("GLOBAL", "INST") else 1):
            start = data.find(b"\n", start) + 1
            if start == 0:
                return len(data) + 1
        return start
    size = _LENGTH_BYTES[opcode.arg.n]
    signed = opcode.arg.n == pickletools.TAKEN_FROM_ARGUMENT4
    length = int.from_bytes(data[start : start + size], "little", signed=signed)
    return start + size + length if length >= 0 else len(data) + 1


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        stand_in = _STAND_INS.get((module_name, global_name))
        if stand_in is None:
            name = f"{module_name}.{global_name}"[:80]
            raise RefusedError(f"refuses to load {name!r}; {_ADMITTED}")
        return _Sealed(stand_in)

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedError(f"refuses a persistent id; {_ADMITTED}")


class _Sealed:
    """A function that a pickle may call but, unlike a Python function, not alter (opcode BUILD)."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name: str, value: Any) -> None:
        raise RefusedError(f"refuses to alter a function; {_ADMITTED}")

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


class _Dtype:
    """What a pickle says of a dtype; `resolve` makes a numpy dtype of a number, text or object."""

    def __init__(self, code: str, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or not _DTYPE_CODE.fullmatch(code):
            raise RefusedError(f"refuses dtype {str(code)[:40]!r}; need numbers, text or objects")
        self.code = code
        self.byte_order = "="

    def __setstate__(self, state: Any) -> None:
        _version, byte_order, *fields = state[:5]
        if byte_order not in ("<", ">", "|", "=") or any(field is not None for field in fields):
            raise RefusedError("refuses a dtype with fields; need numbers, text or objects")
        self.byte_order = byte_order

    def resolve(self) -> np.dtype:
        return np.dtype(self.byte_order + self.code)


class _Array(np.ndarray):
    """An array whose state is checked before numpy, which trusts it, gets to see it."""

    def __setstate__(self, state: Any, /) -> None:
        _version, shape, dtype, is_fortran, content = state
        # Filling an array twice would free memory that a view of it may still point to.
        if self.shape != (0,):
            raise RefusedError("refuses to fill an array twice")
        real = _resolve(dtype)
        if real.hasobject:
            fits = isinstance(content, list) and len(content) == _count(shape)
        else:
            content = _as_bytes(content)
            fits = len(content) == _count(shape) * real.itemsize
        if not fits:
            raise RefusedError(f"an array of shape {shape} and {real} has content of another size")
        # numpy's types ask for its own bool here; its code refuses that and takes Python's.
        checked: Any = (1, shape, real, bool(is_fortran), content)
        super().__setstate__(checked)


def _resolve(dtype: Any) -> np.dtype:
    if not isinstance(dtype, _Dtype):
        raise RefusedError("refuses an array without a plain dtype")
    real = dtype.resolve()
    if real.itemsize == 0:
        raise RefusedError(f"refuses dtype {real}, whose items have no size")
    return real


def _count(shape: Any) -> int:
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise RefusedError(f"refuses the array shape {str(shape)[:40]}")
    return math.prod(shape)


def _as_bytes(content: Any) -> bytes:
    """Bytes of an array; Python 2's came in as text of latin-1."""
    return content.encode("latin-1") if isinstance(content, str) else bytes(memoryview(content))


def _ndarray(*_args: object) -> Any:
    raise RefusedError("refuses to make an array by its class; need numpy's own pickles of arrays")


def _reconstruct(*_args: object) -> np.ndarray:
    """The empty array that numpy's pickles begin with, whatever class or shape they declare."""
    return _Array((0,), dtype=np.int8)


def _from_buffer(content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    real, content = _resolve(dtype), _as_bytes(content)
    if real.hasobject or len(content) != _count(shape) * real.itemsize:
        raise RefusedError(f"an array of shape {shape} and {real} has content of another size")
    return np.ndarray(shape, real, buffer=content, order="F" if order == "F" else "C").copy(order="K")


def _scalar(dtype: Any, content: Any) -> Any:
    return _from_buffer(content, dtype, (1,), "C")[0]


def _empty_bytes() -> bytes:
    """Python 3 writes no bytes at all so in old protocols."""
    return b""


def _encode(text: str, encoding: str) -> bytes:
    """Python 3 writes bytes so in old protocols; another encoding would be looked up as a module."""
    if encoding not in ("latin1", "latin-1"):
        raise RefusedError(f"refuses the encoding {str(encoding)[:40]!r}")
    return text.encode("latin-1")


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    **{
        (module, name): made
        for module in ("builtins", "__builtin__")
        for name, made in (("set", set), ("frozenset", frozenset), ("bytes", _empty_bytes))
    },
    **{
        (f"numpy.{core}.{module}", name): made
        for core in ("core", "_core")
        for module, name, made in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}
"""Module and name, as pickles of Python 2 and 3 and of numpy 1 and 2 write them."""
