import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from emofuse.errors import DataError
from emofuse.features.shards import ShardTable


def key_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


def rows_of(number: int, n_values: int = 3) -> np.ndarray:
    """Number of rows, kind and values all depend on the number; every fourth is a vector."""
    rng = np.random.default_rng(number)
    shape = (n_values,) if number % 4 == 0 else (1 + number % 7, n_values)
    return rng.standard_normal(shape).astype(np.float32)


def fill(folder: Path, numbers: range, shard_bytes: int = 2000) -> None:
    table = ShardTable(folder, "float32", 3, shard_bytes)
    for number in numbers:
        table.put(key_of(number), rows_of(number))
    table.flush()


def assert_holds(table: ShardTable, numbers: range) -> None:
    assert sorted(table.keys()) == sorted(key_of(n) for n in numbers)
    assert len(table) == len(numbers)
    for number in numbers:
        np.testing.assert_array_equal(table.get(key_of(number)), rows_of(number))


def test_ragged_arrays_and_vectors_come_back_as_they_were_put(tmp_path: Path) -> None:
    table = ShardTable(tmp_path, "float32", 3, shard_bytes=2000)
    for number in range(300):
        table.put(key_of(number), rows_of(number))
    assert 0 < table.n_pending < 300  # some in memory, some on disk
    assert_holds(table, range(300))
    assert key_of(300) not in table
    assert table.n_rows(key_of(4)) == 0
    assert table.n_rows(key_of(5)) == 6
    table.flush()
    assert_holds(ShardTable(tmp_path, "float32", 3), range(300))


def test_a_result_can_be_changed_without_changing_the_table(tmp_path: Path) -> None:
    table = ShardTable(tmp_path, "float32", 3)
    table.put(key_of(1), rows_of(1))
    table.get(key_of(1))[:] = 0
    table.flush()
    table.get(key_of(1))[:] = 0
    np.testing.assert_array_equal(table.get(key_of(1)), rows_of(1))


def test_many_arrays_at_once_come_in_the_order_that_was_asked_for(tmp_path: Path) -> None:
    fill(tmp_path, range(100))
    order = list(np.random.default_rng(0).permutation(100))
    arrays = ShardTable(tmp_path, "float32", 3).get_many([key_of(n) for n in order])
    for number, array in zip(order, arrays, strict=True):
        np.testing.assert_array_equal(array, rows_of(int(number)))


def test_a_key_that_is_there_is_not_put_again(tmp_path: Path) -> None:
    table = ShardTable(tmp_path, "float32", 3)
    table.put(key_of(1), rows_of(1))
    table.put(key_of(1), rows_of(5))
    table.flush()
    table.put(key_of(1), rows_of(5))
    assert table.n_pending == 0
    np.testing.assert_array_equal(table.get(key_of(1)), rows_of(1))


def test_a_shard_is_written_when_it_is_full_or_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = ShardTable(tmp_path / "full", "float32", 3, shard_bytes=10 * 12)
    for number in range(0, 80, 4):  # vectors of 12 bytes
        full.put(key_of(number), rows_of(number))
    assert (full.n_shards, full.n_pending) == (2, 0)
    now = 1000.0
    monkeypatch.setattr("emofuse.features.shards.time", SimpleNamespace(monotonic=lambda: now, time_ns=time.time_ns))
    old = ShardTable(tmp_path / "old", "float32", 3, flush_s=5)
    old.put(key_of(0), rows_of(0))
    now += 4.9
    old.put(key_of(1), rows_of(1))
    assert old.n_pending == 2
    now += 0.2
    old.put(key_of(4), rows_of(4))
    assert (old.n_shards, old.n_pending) == (1, 0)


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_shards import fill
fill(Path(sys.argv[2]), range(int(sys.argv[3]), int(sys.argv[4])))
"""


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    watching = ShardTable(tmp_path, "float32", 3)
    command = [sys.executable, "-c", WRITER, str(Path(__file__).parent), str(tmp_path)]
    processes = [subprocess.Popen([*command, *part]) for part in (("0", "400"), ("300", "700"))]
    assert [process.wait() for process in processes] == [0, 0]
    assert key_of(0) not in watching
    watching.refresh()
    assert_holds(watching, range(700))  # 100 keys are in two shards


def test_keys_that_agree_in_their_first_half_are_told_apart(tmp_path: Path) -> None:
    table = ShardTable(tmp_path, "float32", 3)
    keys = [f"{7:016x}{n:016x}" for n in (3, 1, 2)]
    for n, key in enumerate(keys):
        table.put(key, rows_of(n))
        table.flush()
    for n, key in enumerate(keys):
        np.testing.assert_array_equal(table.get(key), rows_of(n))
    assert list(table.keys()) == sorted(keys)
    assert f"{7:016x}{4:016x}" not in table


def test_compacting_keeps_everything_once_and_opens_from_the_index(tmp_path: Path) -> None:
    fill(tmp_path, range(0, 400))
    fill(tmp_path, range(300, 600))
    reader = ShardTable(tmp_path, "float32", 3)
    n_before = reader.n_shards
    writer = ShardTable(tmp_path, "float32", 3, shard_bytes=20_000)
    late = ShardTable(tmp_path, "float32", 3)
    assert writer.compact() == n_before
    for number, array in enumerate(late.get_many([key_of(n) for n in range(600)])):  # its shards are gone
        np.testing.assert_array_equal(array, rows_of(number))
    assert writer.n_shards < n_before / 5
    assert_holds(writer, range(600))
    assert_holds(reader, range(600))  # its shards are gone too
    fill(tmp_path, range(600, 650))
    assert_holds(ShardTable(tmp_path, "float32", 3), range(650))
    total = sum(len(load_file(p)["keys"]) for p in (tmp_path / "shards").glob("*"))
    assert total == 650
    assert len(load_file(tmp_path / "index.safetensors")["high"]) == 600


def test_an_index_that_names_a_deleted_shard_is_read_without_it(tmp_path: Path) -> None:
    fill(tmp_path, range(300))
    ShardTable(tmp_path, "float32", 3, shard_bytes=3000).compact()
    first, *rest = sorted((tmp_path / "shards").glob("*"))
    assert rest
    gone = {keys.tobytes().hex() for keys in load_file(first)["keys"]}
    first.unlink()
    table = ShardTable(tmp_path, "float32", 3)
    assert set(table.keys()) == {key_of(n) for n in range(300)} - gone
    for number in range(300):
        if key_of(number) not in gone:
            np.testing.assert_array_equal(table.get(key_of(number)), rows_of(number))


def test_the_index_is_not_needed(tmp_path: Path) -> None:
    fill(tmp_path, range(50))
    ShardTable(tmp_path, "float32", 3).compact()
    (tmp_path / "index.safetensors").unlink()
    assert_holds(ShardTable(tmp_path, "float32", 3), range(50))


def test_others_read_a_shard_with_safetensors_alone(tmp_path: Path) -> None:
    fill(tmp_path, range(10), shard_bytes=10**6)
    (path,) = (tmp_path / "shards").glob("*.safetensors")
    tensors = load_file(path)
    ends = np.cumsum(np.maximum(tensors["n_rows"], 1))
    keys = [row.tobytes().hex() for row in tensors["keys"]]
    i = keys.index(key_of(5))
    np.testing.assert_array_equal(tensors["values"][ends[i] - tensors["n_rows"][i] : ends[i]], rows_of(5))


def test_a_half_written_file_is_passed_over_and_removed_when_a_day_old(tmp_path: Path) -> None:
    fill(tmp_path, range(10))
    partial = tmp_path / "shards" / "0-0.safetensors.1234.partial"
    partial.write_bytes(b"half of a shard")
    assert_holds(ShardTable(tmp_path, "float32", 3), range(10))
    ShardTable(tmp_path, "float32", 3).compact()
    assert partial.exists()
    os.utime(partial, (time.time() - 90_000,) * 2)
    ShardTable(tmp_path, "float32", 3).compact()
    assert not partial.exists()


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_torn_shard_is_named(tmp_path: Path, length: int) -> None:
    fill(tmp_path, range(10))
    path = sorted((tmp_path / "shards").glob("*.safetensors"))[0]
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=rf"{path.name}: damaged.*delete it") as caught:
        ShardTable(tmp_path, "float32", 3)
    assert "\n" not in str(caught.value)


def test_a_changed_byte_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    fill(tmp_path, range(1, 2))
    (path,) = (tmp_path / "shards").glob("*.safetensors")
    content = bytearray(path.read_bytes())
    at = bytes(content).index(rows_of(1).tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name}: damaged, a checksum differs"):
        ShardTable(tmp_path, "float32", 3).get(key_of(1))


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    fill(tmp_path, range(4))
    with pytest.raises(DataError, match=r"values .* float32, need \(\d+, 4\) float32"):
        ShardTable(tmp_path, "float32", 4)
    save_file({"x": np.zeros(3, np.float64)}, tmp_path / "shards" / "f.safetensors")
    with pytest.raises(DataError, match=r"f\.safetensors: damaged or no shard of ours"):
        ShardTable(tmp_path, "float32", 3)


@pytest.mark.parametrize("shape", [(4,), (2, 4), (0, 3), (1, 1, 3), ()])
def test_an_array_of_another_shape_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"need \(3,\) or \(n, 3\)"):
        ShardTable(tmp_path, "float32", 3).put(key_of(0), np.zeros(shape, np.float32))


@pytest.mark.parametrize("key", ["", "xyz", "0" * 31, "0" * 64, "g" * 32])
def test_a_key_that_is_none_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(DataError, match="need 32 hexadecimal digits"):
        ShardTable(tmp_path, "float32", 3).put(key, rows_of(0))


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"nothing under key {key_of(7)}"):
        ShardTable(tmp_path, "float32", 3).get(key_of(7))


def test_a_hundred_thousand_small_vectors_take_seconds(tmp_path: Path) -> None:
    keys = [key_of(n) for n in range(100_000)]
    vectors = np.random.default_rng(0).standard_normal((100_000, 4)).astype(np.float32)
    table = ShardTable(tmp_path, "float32", 4, shard_bytes=2**18)
    start = time.process_time()
    for key, vector in zip(keys, vectors, strict=True):
        table.put(key, vector)
    table.flush()
    read = ShardTable(tmp_path, "float32", 4).get_many(keys)
    assert time.process_time() - start < 60  # 3 to 8 s of a slow core
    np.testing.assert_array_equal(np.stack(read), vectors)
