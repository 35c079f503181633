import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from emofuse.errors import ConfigError, DataError
from emofuse.features.extractor import Extractor
from emofuse.features.store import FeatureStore, media_key, text_key
from emofuse.features.table import FeatureInfo

LETTERS = Extractor(
    name="letters",
    modality="text",
    dimensions=("letters", "words"),
    rate_hz=None,
    unit="count",
    compute=lambda text: np.array([len(text), len(text.split())]),
    settings={"unicode": True},
)
LOUDNESS = Extractor(
    name="rms energy",
    modality="speech",
    dimensions=("rms",),
    rate_hz=100.0,
    unit="amplitude",
    compute=lambda x: np.sqrt(np.mean(x[: len(x) // 160 * 160].reshape(-1, 160) ** 2, axis=1, keepdims=True)),
    licence="none",
)


def old_file(path: Path, content: bytes) -> Path:
    """A file that was last changed an hour ago: its hash is remembered."""
    path.write_bytes(content)
    os.utime(path, (time.time() - 3600,) * 2)
    return path


def test_keys_are_of_content_and_part() -> None:
    one, two = "ab" * 32, "cd" * 32
    keys = [
        media_key(one),
        media_key(two),
        media_key(one, 1.0),
        media_key(one, None, 1.0),
        media_key(one, 1.0, 2.0),
        media_key(one, 1.0, 2.5),
        text_key("yes"),
        text_key("Yes"),
    ]
    assert len(set(keys)) == len(keys)
    assert media_key(one, 0.0) == media_key(one)
    assert media_key(one, 1, 2) == media_key(one, 1.0, 2.0)
    assert text_key("yes") == hashlib.sha256(b"yes").hexdigest()[:32]


def test_features_are_found_again_under_their_name(tmp_path: Path) -> None:
    with FeatureStore(tmp_path) as store:
        store.table(LETTERS).put(text_key("a b"), LETTERS("a b"))
        store.table(LOUDNESS).put(media_key("00"), LOUDNESS(np.ones(480, np.float32)))
    store = FeatureStore(tmp_path)
    assert [info.name for info in store.features().values()] == ["letters", "rms energy"]
    np.testing.assert_array_equal(store.find("letters").get(text_key("a b")), [3, 2])
    np.testing.assert_array_equal(store.find("rms energy").get(media_key("00")), np.ones((3, 1)))
    assert store.find("letters").get(text_key("a b")).dtype == np.float32
    with pytest.raises(DataError, match=r"no feature 'egemaps'; stored: letters-\w{12}, rms_energy-\w{12}"):
        store.find("egemaps")


def test_feature_json_says_what_a_reader_must_know(tmp_path: Path) -> None:
    table = FeatureStore(tmp_path).table(LOUDNESS)
    content = json.loads((table.folder / "feature.json").read_text())
    assert content.pop("emofuse_version")
    assert content == {
        "name": "rms energy",
        "modality": "speech",
        "dimensions": ["rms"],
        "rate_hz": 100.0,
        "unit": "amplitude",
        "settings": {},
        "frame_rate": None,
        "licence": "none",
        "precision": "float32",
        "values_version": 1,
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": {"unicode": False}},
        {"name": "letters2"},
        {"dimensions": ("words", "letters")},
        {"rate_hz": 1.0},
        {"frame_rate": 5.0},
    ],
)
def test_what_values_depend_on_makes_another_feature(changed: dict[str, object]) -> None:
    assert FeatureInfo.of(replace(LETTERS, **changed)).folder != FeatureInfo.of(LETTERS).folder  # type: ignore[arg-type]


def test_what_they_do_not_depend_on_makes_none() -> None:
    other = replace(LETTERS, licence="new", unit="number", settings=dict(reversed(LETTERS.settings.items())))
    assert FeatureInfo.of(other).folder == FeatureInfo.of(LETTERS).folder
    assert FeatureInfo.of(LETTERS, "float16").folder != FeatureInfo.of(LETTERS).folder


def test_two_choices_of_settings_are_told_apart_by_the_folder(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    tables = [store.table(LETTERS), store.table(replace(LETTERS, settings={}))]
    with pytest.raises(DataError, match=r"several feature 'letters'; stored: letters-\w+, letters-\w+$"):
        store.find("letters")
    assert store.find(tables[0].folder.name) is tables[0]


@pytest.mark.parametrize("settings", [{"x": Path("a")}, {"x": float("nan")}, {"x": {1, 2}}])
def test_settings_that_json_cannot_hold_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="letters: settings that are not JSON"):
        FeatureInfo.of(replace(LETTERS, settings=settings))


def test_dimensions_of_the_same_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two dimensions are named 'a'"):
        FeatureInfo.of(replace(LETTERS, dimensions=("a", "b", "a")))


@pytest.mark.parametrize(("bad", "n"), [(np.nan, 1), (np.inf, 1), (-np.inf, 1)])
def test_nan_and_infinity_are_refused(tmp_path: Path, bad: float, n: int) -> None:
    with pytest.raises(DataError, match=f"letters: {n} of 4 values are NaN or infinite"):
        FeatureStore(tmp_path).table(LETTERS).put(text_key(""), np.array([[1, 2], [bad, 3]], np.float32))


def test_float16_takes_half_the_space_and_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((5000, 2)).astype(np.float32)
    sizes = []
    for precision in ("float32", "float16"):
        with FeatureStore(tmp_path / precision, precision) as store:
            store.table(LETTERS).put(text_key("x"), values)
        table = FeatureStore(tmp_path / precision, precision).table(LETTERS)
        np.testing.assert_allclose(table.get(text_key("x")), values, rtol=2**-11, atol=2**-24)
        sizes.append(sum(p.stat().st_size for p in (tmp_path / precision).rglob("*.safetensors")))
    assert sizes[1] == pytest.approx(sizes[0] / 2, rel=0.02)
    with pytest.raises(DataError, match="letters: 70000 is beyond the range of float16"):
        table.put(text_key("y"), np.array([1, -70_000], np.float32))
    table.put(text_key("z"), np.array([1, -65_504], np.float32))


def test_a_file_is_hashed_again_only_when_it_changed(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a.wav", b"first")
    with FeatureStore(tmp_path / "store") as store:
        assert store.file_sha256(path) == hashlib.sha256(b"first").hexdigest()
    status = path.stat()
    path.write_bytes(b"other")  # same size; with the same time it is not read
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert FeatureStore(tmp_path / "store").file_sha256(path) == hashlib.sha256(b"first").hexdigest()
    os.utime(path, (time.time() - 1800,) * 2)
    assert FeatureStore(tmp_path / "store").file_sha256(path) == hashlib.sha256(b"other").hexdigest()
    old_file(path, b"longer than before")
    assert FeatureStore(tmp_path / "store").file_sha256(path) == hashlib.sha256(b"longer than before").hexdigest()


def test_a_file_that_may_still_change_is_read_each_time(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"first")
    status = path.stat()
    store = FeatureStore(tmp_path / "store")
    store.file_sha256(path)
    path.write_bytes(b"other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert store.file_sha256(path) == hashlib.sha256(b"other").hexdigest()


@pytest.mark.parametrize(("make", "message"), [(lambda p: p, "no such file"), (Path.mkdir, "cannot be read")])
def test_a_file_that_cannot_be_hashed_is_named(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    make(tmp_path / "a.wav")
    with pytest.raises(DataError, match=rf"a\.wav: {message}"):
        FeatureStore(tmp_path / "store").file_sha256(tmp_path / "a.wav")


def test_a_damaged_description_is_named(tmp_path: Path) -> None:
    table = FeatureStore(tmp_path).table(LETTERS)
    (table.folder / "feature.json").write_text('{"name": "letters"')
    with pytest.raises(DataError, match=r"feature\.json: damaged"):
        FeatureStore(tmp_path).find("letters")


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_vectors_are_exported_as_a_column_a_dimension(tmp_path: Path, precision: str) -> None:
    table = FeatureStore(tmp_path, precision).table(LETTERS)  # type: ignore[arg-type]
    texts = ["yes", "no no", "a b c"]
    for text in texts:
        table.put(text_key(text), LETTERS(text))
    table.to_parquet(tmp_path / "out.parquet", {f"u{i}": text_key(text) for i, text in enumerate(texts)})
    read = pq.read_table(tmp_path / "out.parquet")
    assert read.column_names == ["id", "letters", "words"]
    assert read.to_pydict() == {"id": ["u0", "u1", "u2"], "letters": [3, 5, 5], "words": [1, 2, 3]}
    assert json.loads(read.schema.metadata[b"emofuse"])["unit"] == "count"
    assert sorted(table.to_table()["id"].to_pylist()) == sorted(map(text_key, texts))
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["out.parquet"]


def test_sequences_are_exported_as_lists_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emofuse.features.table._EXPORT_BYTES", 100)  # several row groups
    table = FeatureStore(tmp_path).table(replace(LETTERS, rate_hz=1.0))
    arrays = {f"u{n}": np.arange(2.0 * n, dtype=np.float32).reshape(n, 2) + n for n in range(1, 12)}
    for name, array in arrays.items():
        table.put(text_key(name), array)
    table.to_parquet(tmp_path / "out.parquet", {name: text_key(name) for name in arrays})
    file = pq.ParquetFile(tmp_path / "out.parquet")
    assert file.num_row_groups > 2
    read = file.read()
    assert str(read.schema.field("values").type) == "list<element: list<element: float>>"
    assert dict(zip(*read.to_pydict().values(), strict=True)) == {k: a.tolist() for k, a in arrays.items()}


def test_an_empty_feature_is_exported_as_an_empty_table(tmp_path: Path) -> None:
    assert FeatureStore(tmp_path).table(LETTERS).to_table().num_rows == 0


def test_a_dimension_called_id_cannot_be_exported(tmp_path: Path) -> None:
    table = FeatureStore(tmp_path).table(replace(LETTERS, dimensions=("id", "x")))
    with pytest.raises(DataError, match="a dimension is called id"):
        table.to_parquet(tmp_path / "out.parquet")


def test_compacting_a_store_joins_the_shards_of_every_feature(tmp_path: Path) -> None:
    for text in ("a", "bc", "d e f"):
        with FeatureStore(tmp_path) as store:
            store.table(LETTERS).put(text_key(text), LETTERS(text))
            store.file_sha256(old_file(tmp_path / text, text.encode()))
    assert FeatureStore(tmp_path).compact() == 6
    store = FeatureStore(tmp_path)
    assert store.find("letters").n_shards == 1
    np.testing.assert_array_equal(store.find("letters").get(text_key("d e f")), [5, 3])
