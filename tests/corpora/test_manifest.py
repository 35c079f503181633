import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from emofuse.corpora import manifest
from emofuse.corpora.check import KNOWN_LABELS, find_problems
from emofuse.errors import DataError

ROWS = [
    {"id": "b1", "dialogue": "b", "speaker": "ann", "label": "happy", "split": "train", "text": "Hello, you"},
    {"id": "b2", "dialogue": "b", "speaker": "bob", "label": None, "split": "train", "text": None},
    {"id": "c1", "dialogue": None, "speaker": "bob", "label": "gratitude", "split": "dev", "text": "Thanks"},
]


def write_csv(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def write_rows(path: Path) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n")
    else:
        lines = [",".join(f'"{value or ""}"' for value in row.values()) for row in ROWS]
        write_csv(path, ",".join(ROWS[0]), *lines)
    return path


@pytest.mark.parametrize("suffix", manifest.SUFFIXES)
def test_the_three_kinds_of_table_say_the_same(tmp_path: Path, suffix: str) -> None:
    corpus = manifest.read(write_rows(tmp_path / f"table{suffix}"))
    assert [(u.id, u.dialogue, u.index, u.speaker, u.label, u.split, u.text) for u in corpus.utterances] == [
        ("b1", "b", 0, "ann", "happy", "train", "Hello, you"),
        ("b2", "b", 1, "bob", None, "train", None),
        ("c1", None, 0, "bob", "gratitude", "dev", "Thanks"),
    ]
    assert find_problems(corpus) == []


def test_numbers_stay_numbers_and_whole_floats_are_indices(tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    columns = {"id": [7, 8], "dialogue": ["d", "d"], "index": [1.0, 0.0], "start_s": [1.5, float("nan")]}
    pq.write_table(pa.table(columns | {"end_s": [2.5, None]}), file)
    first, second = manifest.read(file).utterances
    assert (first.id, first.index, first.start_s) == ("8", 0, None)
    assert (second.id, second.index, second.start_s, second.end_s) == ("7", 1, 1.5, 2.5)


def test_a_dialogues_rows_may_be_anywhere_and_in_any_order(tmp_path: Path) -> None:
    rows = ("x,d,2,1", "clip,,,2", "y,d,0,3", "z,d,,4")
    corpus = manifest.read(write_csv(tmp_path / "m.csv", "id,dialogue,index,ignored", *rows))
    assert [(u.id, u.index) for u in corpus.utterances] == [("y", 0), ("z", 1), ("x", 2), ("clip", 0)]


def test_media_are_found_beside_the_manifest_and_times_cut_them(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    sf.write(tmp_path / "media" / "d.wav", np.zeros(16000, dtype=np.float32), 16000)
    rows = ("a,media/d.wav,0,0.5", "b,media/d.wav,,", "c,,0.5,1")
    corpus = manifest.read(write_csv(tmp_path / "m.csv", "id,audio,start_s,end_s", *rows))
    part, whole, text_only = corpus.utterances
    assert part.audio == tmp_path / "media" / "d.wav"
    assert (part.start_s, part.end_s, part.media_start_s, part.media_end_s) == (0.0, 0.5, 0.0, 0.5)
    assert (whole.media_start_s, whole.media_end_s) == (None, None)
    assert (text_only.start_s, text_only.end_s, text_only.media_start_s) == (0.5, 1.0, None)
    assert find_problems(corpus) == []


def test_vectors_and_sequences_become_feature_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([1.0, 2.0]))
    np.save(tmp_path / "short.npy", np.array([[1, 2, 3]]))
    np.save(tmp_path / "long.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    rows = ("a,short.npy,", "b,,v.npy", "c,long.npy,v.npy")
    corpus = manifest.read(write_csv(tmp_path / "m.csv", "id,speech_features,text_features", *rows))
    assert [dict(u.features) for u in corpus.utterances] == [{"speech": 0}, {"text": 0}, {"speech": 1, "text": 1}]
    np.testing.assert_array_equal(corpus.features["speech"], [[[1, 2, 3], [0, 0, 0]], [[0, 1, 2], [3, 4, 5]]])
    np.testing.assert_array_equal(corpus.features["text"], [[1, 2], [1, 2]])
    assert {array.dtype for array in corpus.features.values()} == {np.dtype(np.float32)}
    assert find_problems(corpus) == []


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("id,label", ["a,happy", "b,joyous"], "row 3: label is 'joyous'; known: angry, happy"),
        ("id,split", ["a,valid"], "row 2: split is 'valid'; known: train, dev, test"),
        ("id,sex", ["a,f"], "row 2: sex is 'f'; known: female, male"),
        ("id,text", [",hello"], "row 2: no id"),
        ("id,text", ["a,x", "a,y"], "row 3: id 'a' is that of row 2 too"),
        ("id,dialogue,index", ["a,d,0", "b,d,0"], "row 3: index 0 of dialogue d is that of row 2 too"),
        ("id,dialogue,index", ["a,d,first"], "row 2: index is 'first'; need a whole number"),
        ("id,dialogue,index", ["a,d,-1"], "row 2: index is -1; need a whole number from 0"),
        ("id,start_s,end_s", ["a,zero,1"], "row 2: start_s is 'zero'; need a finite number"),
        ("id,start_s,end_s", ["a,1,"], "row 2: only one of start_s and end_s"),
        ("id,start_s,end_s", ["a,2,1"], "row 2: start_s 2, end_s 1; need 0 <= start_s < end_s"),
        ("id,start_s,end_s", ["a,-1,1"], "row 2: start_s -1, end_s 1; need 0 <= start_s < end_s"),
        ("id,audio", ["a,none.wav"], "row 2: no audio file "),
        ("id,image", ["a,none.png"], "row 2: no image file "),
        ("id,text_features", ["a,none.npy"], "row 2: no text_features file "),
        ("name,text", ["a,b"], "no column id"),
        ("id,text", [], "no rows"),
    ],
)
def test_bad_rows_are_refused_with_file_and_row(tmp_path: Path, header: str, rows: list[str], message: str) -> None:
    file = write_csv(tmp_path / "m.csv", header, *rows)
    with pytest.raises(DataError, match=re.escape(message)) as error:
        manifest.read(file)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([1.0, np.nan]), "holds NaN or infinity; need finite numbers"),
        (np.ones(3), r"is (3,); need (2,) as in the first row"),
        (np.ones((4, 2)), r"is (4, 2); need (2,) as in the first row"),
        (np.ones((1, 1, 2)), "need (dim,) or (steps, dim)"),
        (np.ones((0, 2)), "need (dim,) or (steps, dim)"),
        (np.array(["a", "b"]), "is no .npy file of real numbers"),
        (np.array([{}, {}]), "is no .npy file of numbers"),
    ],
)
def test_bad_features_are_refused_with_file_and_row(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "good.npy", np.ones(2))
    np.save(tmp_path / "bad.npy", array)
    file = write_csv(tmp_path / "m.csv", "id,visual_features", "a,good.npy", "b,bad.npy")
    with pytest.raises(DataError, match=re.escape(message)) as error:
        manifest.read(file)
    assert f"m.csv: row 3: {tmp_path / 'bad.npy'}" in str(error.value)


def test_a_sequence_needs_the_width_of_the_first(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    np.save(tmp_path / "b.npy", np.ones((3, 4)))
    file = write_csv(tmp_path / "m.csv", "id,visual_features", "a,a.npy", "b,b.npy")
    with pytest.raises(DataError, match=r"is \(3, 4\); need \(steps, 2\) as in the first row"):
        manifest.read(file)


def test_what_is_no_npy_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_text("1,2")
    file = write_csv(tmp_path / "m.csv", "id,visual_features", "a,a.npy")
    with pytest.raises(DataError, match=r"row 2: .*a\.npy is no \.npy file of numbers"):
        manifest.read(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.txt", "id\na\n", r"a manifest ends in \.csv, \.jsonl, \.parquet"),
        ("m.jsonl", '{"id": "a"}\n{"id": \n', r"row 2: not JSON"),
        ("m.jsonl", '["a"]\n', r"row 1: list found; need one JSON object a line"),
        ("m.jsonl", '{"id": "a", "text": ["b"]}\n', r"row 1: text is \['b'\]; need text, a number or null"),
        ("m.jsonl", "\n", r"no rows; need at least one utterance"),
        ("m.jsonl", '{"id": "a", "start_s": NaN, "end_s": 1}\n', r"row 1: only one of start_s and end_s"),
        ("m.parquet", "no parquet", r"not a Parquet file"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message) as error:
        manifest.read(tmp_path / name)
    assert "\n" not in str(error.value)


def test_missing_manifest_and_parquet_without_id(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"m\.csv: no such file"):
        manifest.read(tmp_path / "m.csv")
    pq.write_table(pa.table({"name": ["a"]}), tmp_path / "m.parquet")
    with pytest.raises(DataError, match=r"m\.parquet: no column id; found name"):
        manifest.read(tmp_path / "m.parquet")


def test_the_manual_names_every_column_and_label() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "manifest.md").read_text(encoding="utf-8")
    assert [name for name in (*manifest.COLUMNS, *KNOWN_LABELS) if f"`{name}`" not in manual] == []
