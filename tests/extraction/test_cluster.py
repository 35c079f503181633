"""Ray: one row an utterance whatever dies, and a repeated command that goes on. Each run starts Ray: few, and in
processes of their own, as Ray warns of much that our tests take for an error.
"""

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from emofuse.extraction.workers import Died

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='needs Ray: pip install "emofuse[ray]"')
on_linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux to find Ray's processes")
HERE = Path(__file__).parent


def write_clips(folder: Path, n: int, n_least: int = 8000) -> None:
    """Tones of a level and length each, of `n_least` samples and more, last changed an hour ago."""
    folder.mkdir()
    for i in range(n):
        path = folder / f"clip{i:02d}.wav"
        x = 0.01 * (i + 1) * np.sin(np.arange(n_least + 400 * i) / 9)
        soundfile.write(path, x.astype(np.float32), 16_000, subtype="FLOAT")
        os.utime(path, (time.time() - 3600,) * 2)


@contextmanager
def started(*arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process; nothing that it has started, Ray's processes included, outlives the block."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    env = os.environ | environment
    process = subprocess.Popen([sys.executable, *map(str, arguments)], env=env, start_new_session=True, **pipes)
    try:
        yield process
    finally:
        for pid in [*descendants(process.pid), process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def descendants(pid: int) -> list[int]:
    """Processes that a process and those that it started have started."""
    file = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        children = [int(child) for child in file.read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return children + [d for child in children for d in descendants(child)]


def actors(process: subprocess.Popen[str]) -> list[int]:
    """Ray's processes that do parts."""
    found = []
    for pid in descendants(process.pid):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if title.startswith(b"ray::") and b"_Actor" in title:
            found.append(pid)
    return found


def wait_for(process: subprocess.Popen[str], condition: Callable[[], Any]) -> Any:
    """What the condition gives as soon as it is true; the process must not have ended before."""
    end = time.monotonic() + 120
    while not (found := condition()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


@needs_ray
@on_linux
def test_predictions_after_a_killed_command_and_a_killed_worker_are_one_row_an_utterance(tmp_path: Path) -> None:
    n = 60  # of 4 s: many enough that both commands are still at it when something is killed
    write_clips(tmp_path / "clips", n, 64_000)
    (tmp_path / "clips" / "bad.wav").write_text("this is not sound")
    parts = tmp_path / "out" / "predictions.parquet"
    command = ["-m", "emofuse", "predict", tmp_path / "clips", "--ray", "auto", "--jobs", 2, "--out", tmp_path / "out"]

    with started(*command) as first:
        wait_for(first, lambda: any(parts.glob("part-*")))
    before = {path: path.stat().st_mtime_ns for path in parts.glob("part-*")}
    assert 0 < len(before) < n
    (parts / "_part-1.parquet.2.partial").write_bytes(b"PAR1")  # as a process that is killed at it leaves it

    with started(*command) as second:
        wait_for(second, lambda: len(list(parts.glob("part-*"))) > len(before))
        victim = wait_for(second, lambda: actors(second))[0]
        os.kill(victim, signal.SIGKILL)
        output, errors = second.communicate(timeout=200)
    assert second.returncode == 1, errors
    assert f"{n - len(before)} files predicted, {len(before)} found, 1 failed" in output
    assert {path: path.stat().st_mtime_ns for path in before} == before  # not done again
    clips = sorted(str(path) for path in (tmp_path / "clips").glob("clip*"))
    table = pq.read_table(parts)
    assert sorted(table["source"].to_pylist()) == clips
    columns = ["source", "start_s", "end_s", "speaker", "text", "label", "confidence", "unsure", "modalities"]
    assert table.column_names[:10] == [*columns, "missing"]
    assert {name[0] for name in table.column_names[10:]} == {"p", "w"}
    with (tmp_path / "out" / "failures.csv").open(newline="") as file:
        (failure,) = csv.DictReader(file)
    assert failure["source"] == str(tmp_path / "clips" / "bad.wav")
    assert "not a media file" in failure["reason"]
    assert not list(parts.glob("*.partial"))


EXTRACTION = """
import json, sys
from functools import partial
from pathlib import Path
import extractors_for_tests as fakes
from emofuse.extraction import extract, folder_utterances
from emofuse.extraction.cluster import Cluster
from emofuse.features.store import FeatureStore

folder = Path(sys.argv[1])
make = partial(fakes.rms, kill_at=0.5)
utterances = folder_utterances(folder / "clips")
with FeatureStore(folder / "store") as store:
    report = extract(utterances, make, store, cluster=Cluster("auto", 2), export=folder / "export")
print(json.dumps([report.n_done, report.n_found, report.failures]))
"""


@needs_ray
@on_linux
def test_a_file_that_kills_its_worker_again_and_again_is_told_and_the_others_are_extracted(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", 9)
    deadly = tmp_path / "clips" / "deadly.wav"
    soundfile.write(deadly, np.full(8000, 0.5, np.float32), 16_000, subtype="FLOAT")
    (tmp_path / "run.py").write_text(EXTRACTION)
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "part-of-another.parquet").touch()
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    with started(tmp_path / "run.py", tmp_path, PYTHONPATH=path) as process:
        output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    n_done, n_found, failures = json.loads(output.splitlines()[-1])
    assert (n_done + n_found, len(failures)) == (9, 1)
    assert failures[0][0] == "deadly.wav"
    assert "2 processes died while at it" in failures[0][1]
    ids = [f"clip{i:02d}.wav" for i in range(9)]
    exported = pq.read_table(tmp_path / "export")
    assert sorted(exported["id"].to_pylist()) == ids
    row = exported.to_pylist()[exported["id"].to_pylist().index("clip03.wav")]
    expected = np.sqrt(np.mean((0.04 * np.sin(np.arange(160) / 9)) ** 2))
    assert row["values"][0][0] == pytest.approx(expected, rel=1e-3)
    (mapping,) = (tmp_path / "store").glob("rms-*/utterances.parquet/*.parquet")
    assert sorted(pq.read_table(mapping)["id"].to_pylist()) == ids


BENCHMARK = """
import json, runpy, sys
from pathlib import Path
from emofuse.protocol.benchmark import Plan, Session, run_all

small = runpy.run_path(sys.argv[1])
folder = Path(sys.argv[2])
plan = Plan(small["make_recipe"](["clstm-ef"]), folder / "corpus.csv", folder / "ray", (0, 1), device="cpu", ray="auto")
events = []
results = run_all(Session(plan), events.append)
print(json.dumps([events, [[r.system, r.fold, r.seed, r.ids, r.y_prob.tolist(), r.history] for r in results]]))
"""


@needs_ray
def test_a_benchmark_on_ray_gives_the_numbers_of_one_process_in_the_same_order(tmp_path: Path) -> None:
    import runpy

    from emofuse.protocol.benchmark import Plan, Session, run_all

    file = HERE.parent / "protocol" / "test_benchmark.py"
    small = runpy.run_path(str(file))
    small["write_corpus"](tmp_path, 9, 4)
    (tmp_path / "run.py").write_text(BENCHMARK)
    with started(tmp_path / "run.py", file, tmp_path) as process:
        output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    events, found = json.loads(output.splitlines()[-1])
    recipe = small["make_recipe"](["clstm-ef"])
    plan = Plan(recipe, tmp_path / "corpus.csv", tmp_path / "here", (0, 1), device="cpu")
    results = run_all(Session(plan), lambda event: None)
    expected = [[r.system, r.fold, r.seed, list(r.ids), r.y_prob.tolist(), r.history] for r in results]
    assert found == json.loads(json.dumps(expected))
    assert sorted(events) == [f"done clstm-ef, fold test, seed {seed}" for seed in (0, 1)]


class Halves:
    """Halves of numbers; keeps what it was asked and what it finished."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, item: int) -> float:
        self.asked.append(item)
        if item < 0:
            raise KeyboardInterrupt
        return item / 2

    def finish(self, outcomes: Any) -> Any:
        return [result for _, result in outcomes]


@needs_ray
@pytest.mark.filterwarnings("ignore")
def test_an_item_is_given_up_after_two_deaths_and_not_after_one(tmp_path: Path) -> None:
    from emofuse.extraction.cluster import do_part

    note, part = tmp_path / "0.json", [1, 2, -3, 4]
    for n_deaths in (0, 1):
        task = Halves()
        with pytest.raises(KeyboardInterrupt):  # as if the process had ended: the note stays
            do_part(part, task, note)
        assert task.asked == [1, 2, -3], n_deaths
    task = Halves()
    assert do_part(part, task, note) == [0.5, 1.0, Died("2 processes died while at it"), 2.0]
    assert task.asked == [1, 2, 4]
    assert not note.exists()


@needs_ray
@pytest.mark.filterwarnings("ignore")
def test_parts_depend_on_the_number_of_items_alone() -> None:
    from emofuse.extraction.cluster import LARGEST_PART, parts_of

    for n in (0, 1, 63, 130, 10_000):
        parts = parts_of(range(n))
        assert [i for part in parts for i in part] == list(range(n))
        assert all(len(part) <= LARGEST_PART for part in parts)
        assert len({len(part) for part in parts[:-1]}) <= 1
