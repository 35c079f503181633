import math
from pathlib import Path

import numpy as np
import pytest

from emofuse.corpora import tables
from emofuse.corpora.utterance import Utterance
from emofuse.errors import DataError


def write(tmp_path: Path, content: bytes) -> Path:
    file = tmp_path / "t.csv"
    file.write_bytes(content)
    return file


def test_rows_with_byte_order_mark_quotes_and_blank_lines(tmp_path):
    file = write(tmp_path, b'\xef\xbb\xbfa,text\r\n1,"so, ""well"""\r\n\r\n2,caf\xc3\xa9\r\n')
    assert tables.read_rows(file, ["a", "text"]) == [{"a": "1", "text": 'so, "well"'}, {"a": "2", "text": "café"}]


def test_other_delimiter(tmp_path):
    assert tables.read_rows(write(tmp_path, b"a\tb\n1\t2,3\n"), ["b"], delimiter="\t") == [{"a": "1", "b": "2,3"}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no rows"),
        (b"a,b\n", "no rows"),
        (b"a,c\n1,2\n", "row 1: no column b; found a, c"),
        (b"a,b,a\n1,2,3\n", "row 1: column 'a' appears twice"),
        (b"a,b\n1,2\n1\n", "row 3: 1 cells, need 2"),
        (b"a,b\n1,2\n1,2,3\n", "row 3: 3 cells, need 2"),
        (b"a,b\n1,2\n3,\xff\n", "row 3: byte 0xff is not UTF-8"),
        (b"\xef\xbb\xbfa,b\n1,\xff\n", "row 2: byte 0xff is not UTF-8"),
        (b'a,b\n1,"never closed\n', "row 2: not a readable table"),
    ],
)
def test_bad_tables_are_named_with_their_row_in_one_line(tmp_path, content, said):
    file = write(tmp_path, content)
    with pytest.raises(DataError) as caught:
        tables.read_rows(file, ["a", "b"])
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert said in message
    assert "\n" not in message


def test_fallback_encoding(tmp_path):
    file = write(tmp_path, b"a\nit\x92s\n")
    assert tables.read_rows(file, ["a"], fallback_encoding="cp1252") == [{"a": "it’s"}]


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match=r"t\.csv: no such file"):
        tables.read_rows(tmp_path / "t.csv", [])
    with pytest.raises(DataError, match="cannot be read"):
        tables.read_rows(tmp_path, [])
    with pytest.raises(DataError, match=r"t\.csv: no such file"):
        tables.locate(tmp_path, "t.csv")
    file = write(tmp_path, b"a\n1\n")
    assert tables.locate(tmp_path, "t.csv") == tables.locate(file, "t.csv") == file


def test_cells():
    where = (Path("t.csv"), 7, "pitch")
    assert tables.parse_float(" 1.5", *where) == 1.5
    assert math.isnan(tables.parse_float("", *where))
    assert tables.parse_seconds("", *where) is None
    assert tables.parse_int("12", *where) == 12
    for parse, value in [
        (tables.parse_float, "1,5"),
        (tables.parse_float, "inf"),
        (tables.parse_float, "nan"),
        (tables.parse_int, "1.5"),
        (tables.parse_int, ""),
    ]:
        with pytest.raises(DataError, match=rf"t\.csv: row 7: pitch is '{value}'; need"):
            parse(value, *where)
    with pytest.raises(DataError, match=r"t\.csv: row 7: pitch is 'x'; known: a, b"):
        tables.parse_name("x", ("a", "b"), *where)


def test_float_columns():
    array = tables.float_columns([{"a": "1", "b": ""}, {"a": "2", "b": "0.5"}], ("b", "a"), Path("t.csv"))
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, np.array([[np.nan, 1], [0.5, 2]], np.float32))
    with pytest.raises(DataError, match=r"t\.csv: row 3: a is 'x'"):
        tables.float_columns([{"a": "1"}, {"a": "x"}], ("a",), Path("t.csv"))


def test_dialogue_order_and_repeated_ids():
    made = [Utterance(f"{d}{i}", "c", dialogue=d, index=i) for d, i in [("q", 1), ("p", 0), ("q", 0), ("p", 4)]]
    assert [u.id for u in tables.in_dialogue_order(made, Path("t.csv"))] == ["q0", "q1", "p0", "p4"]
    with pytest.raises(DataError, match=r"t\.csv: dialogue q: q1 and again both have index 1"):
        tables.in_dialogue_order([*made, Utterance("again", "c", dialogue="q", index=1)], Path("t.csv"))
    with pytest.raises(DataError, match=r"t\.csv: utterance q1 appears twice"):
        tables.check_unique_ids([*made, made[0]], Path("t.csv"))
