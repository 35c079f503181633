"""Attacks on the restricted reader of pickles, and the pickles that it must read."""

import os
import pickle
import struct
from collections import OrderedDict, defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from emofuse.corpora.restricted_pickle import float_array, is_list, load_restricted
from emofuse.errors import DataError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def load(tmp_path: Path, content: bytes) -> Any:
    file = tmp_path / "file.pkl"
    file.write_bytes(content)
    return load_restricted(file)


def refusal(tmp_path: Path, content: bytes) -> str:
    """The message with which a pickle is refused; it is one line and begins with the file."""
    with pytest.raises(DataError) as caught:
        load(tmp_path, content)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'file.pkl'}: ")
    assert "\n" not in message
    return message.removeprefix(f"{tmp_path / 'file.pkl'}: ")


def unicode(text: str) -> bytes:
    """Opcode that pushes a short text."""
    return b"\x8c" + bytes([len(text)]) + text.encode()


def call(name: str, *arguments: bytes) -> bytes:
    """Opcodes that call a global, ``module:name``, with pushed arguments (protocol 4)."""
    module, _, attribute = name.partition(":")
    return unicode(module) + unicode(attribute) + b"\x93(" + b"".join(arguments) + b"tR"


def program(*opcodes: bytes) -> bytes:
    return b"\x80\x04" + b"".join(opcodes) + b"."


# What must be read


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6, dtype=">f8")[::2],
        np.array([True, False]),
        np.array(["made", "up"]),
        np.array([b"made", b"up"]),
        np.array([1, "mixed", None], dtype=object),
        np.zeros((0, 3)),
        np.float64(1.5),
        np.int64(7),
        np.array(2.0),
    ],
    ids=str,
)
def test_arrays_of_all_protocols(tmp_path, protocol, array):
    loaded = load(tmp_path, pickle.dumps(array, protocol))
    np.testing.assert_array_equal(loaded, array)
    # numpy brings the bytes of a foreign order into its own as it reads them.
    assert np.asarray(loaded).dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    assert np.shape(loaded) == array.shape


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_containers(tmp_path, protocol):
    content = {
        "a": [1, 2.5, None, True, "text é\n", b"bytes \xff", b"", 10**30],
        "b": ({"x", "y"}, frozenset({1}), OrderedDict(q=1)),
    }
    assert load(tmp_path, pickle.dumps(content, protocol)) == content


def test_many_objects_share_one_dtype(tmp_path):
    arrays = {f"d{i}": [np.full(4, i, np.float32) for _ in range(3)] for i in range(400)}
    loaded = load(tmp_path, pickle.dumps(arrays, 2))
    np.testing.assert_array_equal(loaded["d399"][2], np.full(4, 399))


def python2_array(values: list[float]) -> bytes:
    """Opcodes of Python 2's pickler (protocol 2) for an array of float64: module names and str data."""
    content = struct.pack(f"<{len(values)}d", *values)
    minus_one = b"J\xff\xff\xff\xff"
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01"
        + b"K" + bytes([len(values)]) + b"\x85"
        + b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNN" + 2 * minus_one + b"K\x00tb"
        + b"\x89U" + bytes([len(content)]) + content + b"tb"
    )  # fmt: skip


def test_python_2_bytes_are_latin_1(tmp_path):
    names = b"c__builtin__\nset\n(](U\x05caf\xe9sU\x01aetR"
    array, found = load(tmp_path, b"\x80\x02" + python2_array([1.5, -2.25]) + names + b"\x86.")
    np.testing.assert_array_equal(array, [1.5, -2.25])
    assert found == {"cafés", "a"}


def test_python_2_protocol_0(tmp_path):
    content = "".join(f"\\x{byte:02x}" for byte in struct.pack("<2d", 1.5, -2.25)).encode()
    text = (
        b"cnumpy.core.multiarray\n_reconstruct\np1\n(cnumpy\nndarray\np2\n(I0\ntS'b'\ntRp3\n(I1\n(I2\ntcnumpy\ndtype\n"
        b"(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'" + content + b"'\ntb."
    )
    np.testing.assert_array_equal(load(tmp_path, text), [1.5, -2.25])


# Names that must be refused


class Reduces:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_call_of_the_shell_is_refused_and_not_run(tmp_path, protocol):
    victim = tmp_path / "victim"
    message = refusal(tmp_path, pickle.dumps({"train": [Reduces(os.system, f"touch {victim}")]}, protocol))
    assert message == f"refuses to load '{os.name}.system'; only numpy arrays and plain containers are admitted"
    assert not victim.exists()


@pytest.mark.parametrize(
    "function",
    [eval, exec, getattr, setattr, __import__, open, compile, type, object, print, bytearray, list, dict, tuple],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_builtins_are_refused(tmp_path, function, protocol):
    assert f".{function.__name__}'; only" in refusal(tmp_path, pickle.dumps(Reduces(function, "1"), protocol))


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "nt:system",
        "subprocess:Popen",
        "builtins:eval",
        "__builtin__:eval",
        "builtins:getattr",
        "builtins:set.__init__",
        "numpy:load",
        "numpy:fromfile",
        "numpy:memmap",
        "numpy:ndarray.tofile",
        "numpy:dtype.__reduce__",
        "numpy:core.multiarray._reconstruct",
        "numpy.core.multiarray:_reconstruct.__globals__",
        "numpy.core.multiarray:_reconstruct.__class__",
        "numpy.core.multiarray:os",
        "numpy.core.multiarray:fromfile",
        "numpy._core.multiarray:_frombuffer.__globals__",
        "numpy.core:multiarray",
        "numpy.f2py.crackfortran:myeval",
        "numpy.f2py.crackfortran:getlincoef",
        "numpy.testing._private.utils:runstring",
        "numpy.distutils.exec_command:exec_command",
        "numpy.lib.npyio:load",
        "numpy.lib._npyio_impl:load",
        "numpy.ma.core:_mareconstruct",
        "numpy.ctypeslib:load_library",
        "_codecs:encode.__self__",
        "_codecs:decode",
        "_codecs:lookup",
        "codecs:encode",
        "collections:OrderedDict.__init__",
        "collections:OrderedDict.fromkeys",
        "collections:defaultdict",
        "copyreg:_reconstructor",
        "copy_reg:_reconstructor",
        "copyreg:add_extension",
        "functools:partial",
        "operator:attrgetter",
        "importlib:import_module",
        "emofuse.corpora.restricted_pickle:load_restricted",
        "pickle:loads",
        "torch:load",
        "builtins:__dict__",
    ],
)
def test_names_are_refused_in_both_forms(tmp_path, name):
    module, _, attribute = name.partition(":")
    said = f"refuses to load '{module}.{attribute}'; only numpy arrays and plain containers are admitted"
    assert refusal(tmp_path, program(call(name, unicode("x")))) == said
    assert refusal(tmp_path, program(b"c", f"{module}\n{attribute}\n".encode(), b"0N")) == said
    assert refusal(tmp_path, program(b"(", b"i", f"{module}\n{attribute}\n".encode())) == said


def test_a_long_or_many_lined_name_stays_one_short_line(tmp_path):
    message = refusal(tmp_path, program(unicode("a\nb" * 60), unicode("x" * 200), b"\x93"))
    assert len(message) < 250


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_instances_of_classes_are_refused(tmp_path, protocol):
    message = refusal(tmp_path, pickle.dumps(SimpleNamespace(a=1), protocol))
    assert "refuses to load" in message
    assert "defaultdict" in refusal(tmp_path, pickle.dumps(defaultdict(list), protocol))


# Admitted names with forged arguments

RECONSTRUCT = "numpy._core.multiarray:_reconstruct"
NDARRAY = unicode("numpy") + unicode("ndarray") + b"\x93"
EMPTY = call(RECONSTRUCT, NDARRAY, b"K\x00\x85", b"C\x01b")
F8 = (
    call("numpy:dtype", unicode("f8"), b"\x89\x88")
    + b"(K\x03"
    + unicode("<")
    + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)
OBJECT = call("numpy:dtype", unicode("O8"), b"\x89\x88")


def build(shape: bytes, dtype: bytes, content: bytes) -> bytes:
    """Opcode BUILD of an array's state."""
    return b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"


def number(value: int) -> bytes:
    """Opcode that pushes an integer of any size."""
    return f"L{value}L\n".encode()


def test_the_forged_arrays_below_are_well_formed_otherwise(tmp_path):
    content = struct.pack("<2d", 1.0, 2.0)
    array = load(tmp_path, program(EMPTY, build(b"K\x02\x85", F8, b"C\x10" + content)))
    np.testing.assert_array_equal(array, [1.0, 2.0])
    array = load(tmp_path, program(EMPTY, build(b"K\x02\x85", OBJECT, b"](K\x05Ne")))
    assert array.tolist() == [5, None]


@pytest.mark.parametrize(
    ("opcodes", "said"),
    [
        # numpy does not compare the length of a list of objects with the shape: it would read past its end.
        (EMPTY + build(number(10**6) + b"\x85", OBJECT, b"](K\x05e"), "content of another size"),
        (EMPTY + build(b"K\x02\x85", OBJECT, b"C\x10" + b"A" * 16), "content of another size"),
        (EMPTY + build(number(10**12) + b"\x85", F8, b"C\x08" + b"A" * 8), "content of another size"),
        (EMPTY + build(number(2**62) + number(4) + b"\x86", F8, b"C\x00"), "content of another size"),
        (EMPTY + build(number(-1) + b"\x85", F8, b"C\x08" + b"A" * 8), "refuses the array shape"),
        (EMPTY + build(unicode("x") + b"\x85", F8, b"C\x08" + b"A" * 8), "refuses the array shape"),
        (EMPTY + build(b"K\x01", F8, b"C\x08" + b"A" * 8), "refuses the array shape"),
        (EMPTY + build(b"K\x01\x85", unicode("O"), b"]K\x01a"), "without a plain dtype"),
        (EMPTY + build(b"K\x01\x85", F8, b"N"), "TypeError"),
        (EMPTY + b"K\x01b", "TypeError"),
        (EMPTY + b"}b", "ValueError"),
        (EMPTY + 2 * build(b"K\x02\x85", F8, b"C\x10" + b"A" * 16), "fill an array twice"),
        (NDARRAY + b"(" + number(10**11) + b"\x85tR", "make an array by its class"),
        (NDARRAY + number(10**11) + b"\x85\x85\x81", "must be a type"),
        (
            call("numpy._core.numeric:_frombuffer", b"C\x08" + b"A" * 8, OBJECT, b"K\x01\x85", unicode("C")),
            "another size",
        ),
        (
            call("numpy._core.numeric:_frombuffer", b"C\x08" + b"A" * 8, F8, number(10**11) + b"\x85", unicode("C")),
            "size",
        ),
        (call("numpy._core.multiarray:scalar", OBJECT, b"C\x08" + b"A" * 8), "another size"),
        (call("numpy._core.multiarray:scalar", F8, b"C\x04AAAA"), "another size"),
        (call("numpy:dtype", unicode("V8"), b"\x89\x88"), "refuses dtype 'V8'"),
        (call("numpy:dtype", unicode("f8,O"), b"\x89\x88"), "refuses dtype 'f8,O'"),
        (call("numpy:dtype", b"]" + unicode("f8") + b"a"), r"refuses dtype "),
        (EMPTY + build(number(10**9) + b"\x85", call("numpy:dtype", unicode("S0")), b"C\x00"), "no size"),
        (
            call("numpy:dtype", unicode("f8")) + b"(K\x03" + unicode("<") + b"N](K\x01e}J\xff\xff\xff\xffK\x00K\x00tb",
            "fields",
        ),
        (call("numpy:dtype", unicode("f8")) + b"(K\x03" + unicode("<\n") + b"NNNK\x00K\x00K\x00tb", "fields"),
        (call("numpy:dtype", unicode("f8")) + b"K\x03b", "TypeError"),
        (call("_codecs:encode", unicode("x"), unicode("rot13")), "refuses the encoding 'rot13'"),
        (call("_codecs:encode", unicode("x"), unicode("../evil")), "refuses the encoding '../evil'"),
        (call("builtins:bytes", number(10**12)), "TypeError"),
    ],
    ids=range(28),
)
def test_forged_arguments(tmp_path, opcodes, said):
    assert said in refusal(tmp_path, program(opcodes))


def test_a_function_cannot_be_altered(tmp_path):
    function = unicode("_codecs") + unicode("encode") + b"\x93"
    state = b"N}" + unicode("_function") + unicode("x") + b"s\x86"
    assert "refuses to alter a function" in refusal(tmp_path, program(function, state, b"b"))
    assert "AttributeError" in refusal(tmp_path, program(function, b"}", unicode("a"), b"Ns", b"b"))
    assert load(tmp_path, pickle.dumps(b"made up", 2)) == b"made up"


# Damaged files and demands on memory


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty file"),
        (b"garbage", "cut short"),
        (b"\xff\xfe\x00", "not a pickle"),
        (b"PK\x03\x04 an archive", "cut short"),
        (b"\x80\x63N.", "unsupported pickle protocol: 99"),
        (b".", "not a readable pickle"),
        (b"\x80\x04K\x01K\x01", "cut short"),
        (b"\x80\x04U\x05ab", "cut short"),
        (b"\x80\x04h\x07.", "not a readable pickle"),
        (b"\x80\x04cos\nsystem", "cut short"),
        (b"T\xff\xff\xff\xffx.", "cut short"),
        (b"\x8e" + struct.pack("<Q", 2**62) + b"x.", "cut short"),
        (b"\x96" + struct.pack("<Q", 2**40) + b"x.", "cut short"),
        (b"X" + struct.pack("<I", 2**32 - 1) + b"x.", "cut short"),
        (b"]r\xff\xff\xff\x7f.", "memo number"),
        (b"]p2147483000\n.", "memo number"),
        (b"S'never closed\n.", "not a readable pickle"),
        (b"I12x\n.", "not a readable pickle"),
        (b"Psome id\n.", "refuses a persistent id"),
        (b"\x80\x02Nq\x00Q.", "refuses a persistent id"),
        (b"\x80\x02\x82\x01.", "refuses extension code EXT1"),
        (b"\x80\x05\x97.", "not a readable pickle"),
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x00N.", "not a readable pickle"),
    ],
    ids=range(23),
)
def test_damaged_files(tmp_path, content, said):
    assert said in refusal(tmp_path, content)


def test_every_cut_of_a_good_file_is_refused(tmp_path):
    content = pickle.dumps({"a": [np.arange(3.0), "text"], "b": ({1}, b"x")}, 4)
    for end in range(len(content)):
        refusal(tmp_path, content[:end])


def test_any_changed_byte_gives_data_or_a_data_error(tmp_path):
    messages = []
    random = np.random.default_rng(0)
    for protocol in (0, 2, 5):
        content = bytearray(pickle.dumps({"a": [np.arange(3.0), "text"], "o": np.array([None, 1], object)}, protocol))
        for _ in range(100):
            changed = bytearray(content)
            changed[random.integers(len(content))] = random.integers(256)
            try:
                load(tmp_path, bytes(changed))
            except DataError as error:
                messages.append(str(error))
    assert len(messages) > 100
    assert not any("\n" in message for message in messages)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match=r"no\.pkl: no such file"):
        load_restricted(tmp_path / "no.pkl")
    with pytest.raises(DataError, match="cannot be read"):
        load_restricted(tmp_path)


# Arrays of what was read


def test_float_array(tmp_path):
    loaded = load(tmp_path, pickle.dumps([np.arange(2), np.arange(2)]))
    assert type(float_array(loaded[0], "f")) is np.ndarray
    assert float_array(loaded, "f").dtype == np.float32
    assert float_array(loaded, "f").shape == (2, 2)
    assert float_array([1e300], "f").tolist() == [np.inf]
    for value, said in [
        ([np.zeros(2), np.zeros(3)], "parts of different shapes"),
        (np.array([{}, 1], object), "array of object; need an array of numbers"),
        (["a"], "list of <U1"),
        ({"a": 1}, "dict of object"),
        (None, "NoneType of object"),
    ]:
        with pytest.raises(DataError, match=f"^f: {said}"):
            float_array(value, "f")


def test_is_list():
    assert [is_list(value) for value in ([], (), np.zeros(1), np.zeros(()), {}, "text", None)] == [
        *(True, True, True, False, False, False, False),
    ]
