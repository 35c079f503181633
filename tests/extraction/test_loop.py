import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from emofuse.corpora.utterance import Utterance
from emofuse.errors import ConfigError, DataError
from emofuse.extraction import Event, extract, load_features, utterance_keys
from emofuse.features.store import FeatureStore

HERE = Path(__file__).parent


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The extractors of this folder, under a name that worker processes can import."""
    monkeypatch.syspath_prepend(HERE)
    import extractors_for_tests  # type: ignore[import-not-found]

    return extractors_for_tests


def level_of(number: int) -> float:
    return 0.01 * (number + 1)


def make_clips(folder: Path, n: int) -> list[Utterance]:
    """Square waves of a level each, 0.2 to 0.5 s, last changed an hour ago."""
    utterances = []
    for number in range(n):
        path = folder / f"clip{number}.wav"
        path.parent.mkdir(exist_ok=True)
        n_samples = 3200 + 1600 * (number % 4)
        sf.write(path, np.full(n_samples, level_of(number), np.float32), 16_000, subtype="FLOAT")
        os.utime(path, (time.time() - 3600,) * 2)
        utterances.append(Utterance(f"u{number}", "clips", audio=path))
    return utterances


def assert_right(store: Path, utterances: list[Utterance], numbers: range) -> None:
    arrays = load_features(FeatureStore(store), "rms", utterances)
    assert list(arrays) == [u.id for u in utterances]
    for number, array in zip(numbers, arrays.values(), strict=True):
        np.testing.assert_allclose(array, np.full((20 + 10 * (number % 4), 1), level_of(number)), rtol=1e-6)


def texts(*contents: str | None) -> list[Utterance]:
    return [Utterance(f"t{i}", "chat", text=content) for i, content in enumerate(contents)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_second_run_looks_everything_up(tmp_path: Path, fakes: ModuleType, jobs: int) -> None:
    clips, log = make_clips(tmp_path / "clips", 12), tmp_path / "log"
    make = partial(fakes.rms, log=log)
    events: list[Event] = []
    first = extract(clips, make, FeatureStore(tmp_path / "store"), jobs, events.append)
    assert (first.n_done, first.n_found, first.failures) == (12, 0, ())
    assert sorted(e.id for e in events) == sorted(u.id for u in clips)
    assert_right(tmp_path / "store", clips, range(12))
    second = extract(clips, make, FeatureStore(tmp_path / "store"), jobs, events.append)
    assert (second.n_done, second.n_found, second.failures) == (0, 12, ())
    assert [e.status for e in events[12:]] == ["found"] * 12
    assert len(log.read_bytes()) == 12
    assert pq.read_table(first.folder / "utterances.parquet").num_rows == 12  # the file was replaced


def test_copies_and_renamed_files_are_found(tmp_path: Path, fakes: ModuleType) -> None:
    clips = make_clips(tmp_path / "clips", 3)
    extract(clips, fakes.rms, FeatureStore(tmp_path / "store"))
    (tmp_path / "clips").rename(tmp_path / "moved")
    moved = [replace(u, audio=tmp_path / "moved" / u.audio.name) for u in clips if u.audio]
    assert extract(moved, fakes.rms, FeatureStore(tmp_path / "store")).n_found == 3


def test_a_changed_file_and_changed_settings_are_computed(tmp_path: Path, fakes: ModuleType) -> None:
    clips = make_clips(tmp_path / "clips", 4)
    extract(clips, fakes.rms, FeatureStore(tmp_path / "store"))
    before = load_features(FeatureStore(tmp_path / "store"), "rms", clips)
    assert clips[1].audio is not None
    sf.write(clips[1].audio, np.full(4800, 0.5, np.float32), 16_000, subtype="FLOAT")
    with pytest.raises(DataError, match=r"1 of 4 utterances \(u1, ...\) are not stored; run emofuse extract rms"):
        load_features(FeatureStore(tmp_path / "store"), "rms", clips)
    report = extract(clips, fakes.rms, FeatureStore(tmp_path / "store"))
    assert (report.n_done, report.n_found) == (1, 3)
    after = load_features(FeatureStore(tmp_path / "store"), "rms", clips)
    np.testing.assert_allclose(after["u1"], np.full((30, 1), 0.5), rtol=1e-6)
    np.testing.assert_array_equal(after["u0"], before["u0"])
    other = extract(clips, partial(fakes.rms, window=320), FeatureStore(tmp_path / "store"))
    assert (other.n_done, other.n_found) == (4, 0)
    assert other.folder != report.folder
    arrays = load_features(FeatureStore(tmp_path / "store"), other.folder.name, clips)
    assert arrays["u1"].shape == (15, 1)


def test_parts_of_one_file_are_different_inputs(tmp_path: Path, fakes: ModuleType) -> None:
    samples = np.repeat(np.float32([0.1, 0.2, 0.3]), 16_000)
    sf.write(tmp_path / "talk.wav", samples, 16_000, subtype="FLOAT")
    talk = Utterance("0", "c", audio=tmp_path / "talk.wav")
    parts = [replace(talk, id=str(i), media_start_s=i, media_end_s=i + 1) for i in range(3)]
    extract([talk, *parts[1:]], fakes.rms, FeatureStore(tmp_path / "store"))
    arrays = load_features(FeatureStore(tmp_path / "store"), "rms", [talk, *parts[1:]])
    assert [len(a) for a in arrays.values()] == [300, 100, 100]
    np.testing.assert_allclose(arrays["2"], 0.3, rtol=1e-6)


def test_the_part_of_a_video_is_its_own(tmp_path: Path, fakes: ModuleType) -> None:
    path = tmp_path / "grey.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        for value in [40] * 10 + [200] * 10:
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), value, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    whole = Utterance("whole", "c", video=path)
    end = Utterance("end", "c", video=path, media_start_s=0.0, media_end_s=0.5, video_start_s=1.0, video_end_s=2.0)
    store = FeatureStore(tmp_path / "store")
    assert extract([whole, end], fakes.brightness, store).failures == ()
    arrays = load_features(store, "brightness", [whole, end])
    np.testing.assert_allclose(arrays["whole"], np.float32([[40]] * 5 + [[200]] * 5), atol=4)
    np.testing.assert_allclose(arrays["end"], np.float32([[200]] * 5), atol=4)
    make = fakes.brightness()
    with pytest.raises(ConfigError, match="brightness: no frame_rate"):
        extract([whole], lambda: replace(make, frame_rate=None), store)


def test_failures_are_listed_with_their_reason_and_the_rest_goes_on(tmp_path: Path, fakes: ModuleType) -> None:
    good, short = make_clips(tmp_path / "clips", 2)
    assert short.audio is not None
    sf.write(short.audio, np.zeros(1700, np.float32), 16_000)
    (tmp_path / "text.wav").write_text("no audio at all")
    utterances = [
        short,
        Utterance("bad", "clips", audio=tmp_path / "text.wav"),
        Utterance("gone", "clips", audio=tmp_path / "gone.wav"),
        Utterance("none", "clips"),
        good,
    ]
    report = extract(
        utterances, partial(fakes.rms, window=1600), FeatureStore(tmp_path / "store"), out=tmp_path / "out"
    )
    assert report.n_done == 1
    reasons = dict(report.failures)
    assert reasons["u1"] == "rms: 1700 samples, need at least 3200"
    assert reasons["bad"] == f"{tmp_path}/text.wav: not a media file that can be decoded"
    assert reasons["gone"] == f"{tmp_path}/gone.wav: no such file"
    assert reasons["none"] == "no audio or video file"
    with (tmp_path / "out" / "failures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["id"]: row["reason"] for row in rows} == reasons
    assert {row["corpus"] for row in rows} == {"clips"}


def test_texts_are_refused_one_by_one_too(tmp_path: Path, fakes: ModuleType) -> None:
    utterances = texts("yes", None, "oh no", "!", "nan", "yes")
    report = extract(utterances, fakes.letters, FeatureStore(tmp_path))
    assert (report.n_done, report.n_found) == (2, 1)  # the second "yes" is a look-up
    assert report.failures == (
        ("t1", "no text, need a transcript"),
        ("t3", "ValueError: not a word"),
        ("t4", "letters: 1 of 2 values are NaN or infinite (words, ...)"),
    )
    arrays = load_features(FeatureStore(tmp_path), "letters", [utterances[0], utterances[2], utterances[5]])
    assert {k: a.tolist() for k, a in arrays.items()} == {"t0": [3, 1], "t2": [4, 2], "t5": [3, 1]}


def test_a_bug_is_no_failure_of_an_utterance(tmp_path: Path, fakes: ModuleType) -> None:
    with pytest.raises(KeyError, match="missing"):
        extract(texts("yes", "bug"), fakes.letters, FeatureStore(tmp_path))
    assert extract(texts("yes"), fakes.letters, FeatureStore(tmp_path)).n_found == 1


def test_the_mapping_joins_arrays_with_the_users_table(tmp_path: Path, fakes: ModuleType) -> None:
    first, second = texts("yes", "no"), [Utterance("x", "mail", text="yes")]
    folder = extract(first, fakes.letters, FeatureStore(tmp_path)).folder
    extract(second, fakes.letters, FeatureStore(tmp_path))
    read = pq.read_table(folder / "utterances.parquet").sort_by("id").to_pydict()
    assert read["id"] == ["t0", "t1", "x"]
    assert read["corpus"] == ["chat", "chat", "mail"]
    assert read["n_rows"] == [0, 0, 0]
    assert read["key"][0] == read["key"][2] != read["key"][1]
    table = FeatureStore(tmp_path).find("letters")
    ids = {utterance_id: key for (_, utterance_id), key in utterance_keys(table).items()}
    assert table.to_table(ids).sort_by("id").to_pydict() == {
        "id": ["t0", "t1", "x"],
        "letters": [3, 2, 3],
        "words": [1, 1, 1],
    }


def test_features_are_loaded_where_the_recordings_are_not(tmp_path: Path, fakes: ModuleType) -> None:
    clips = make_clips(tmp_path / "clips", 3)
    extract(clips, fakes.rms, FeatureStore(tmp_path / "store"))
    for clip in clips[1:]:
        assert clip.audio is not None
        clip.audio.unlink()
    assert_right(tmp_path / "store", clips, range(3))
    with pytest.raises(DataError, match=r"1 of 1 utterances \(other, ...\) are not stored"):
        load_features(FeatureStore(tmp_path / "store"), "rms", [replace(clips[1], id="other")])


RUN = """
import signal
import sys
from functools import partial
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
import extractors_for_tests as fakes
from emofuse.corpora.folder import folder_utterances
from emofuse.extraction import extract
from emofuse.features.store import FeatureStore
if __name__ == "__main__":
    # Where the tests run in a shell's background, children are born deaf to it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder, jobs, wait_s = Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    store = FeatureStore(folder / "store", flush_s=0.1)
    extract(folder_utterances(folder / "clips"), partial(fakes.rms, log=folder / "log", wait_s=wait_s), store, jobs)
"""


def start_run(tmp_path: Path, jobs: int = 1, wait_s: float = 0.0) -> subprocess.Popen[bytes]:
    script = tmp_path / "run.py"
    script.write_text(RUN)
    return subprocess.Popen([sys.executable, script, HERE, tmp_path, str(jobs), str(wait_s)], stderr=subprocess.DEVNULL)


def wait_for_shards(store: Path, n: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(store.glob("rms-*/shards/*.safetensors"))) < n:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("end", "jobs"), [(signal.SIGKILL, 1), (signal.SIGINT, 1), (signal.SIGINT, 2)])
def test_a_run_that_is_killed_goes_on(tmp_path: Path, fakes: ModuleType, end: signal.Signals, jobs: int) -> None:
    clips = make_clips(tmp_path / "clips", 30)
    process = start_run(tmp_path, jobs, wait_s=0.4)  # seconds are left to kill it in, on a busy machine too
    wait_for_shards(tmp_path / "store", 2)
    process.send_signal(end)
    process.wait(30)
    assert process.returncode != 0
    n_computed = len((tmp_path / "log").read_bytes())
    n_stored = len(FeatureStore(tmp_path / "store").find("rms"))
    assert 0 < n_stored < 30
    if end == signal.SIGINT:  # what was computed was written; one more may have been at work
        assert n_stored >= n_computed - 1
    assert start_run(tmp_path).wait(60) == 0
    assert len((tmp_path / "log").read_bytes()) == n_computed + 30 - n_stored
    assert_right(tmp_path / "store", clips, range(30))
    extract(clips, fakes.rms, FeatureStore(tmp_path / "uninterrupted"))
    once = FeatureStore(tmp_path / "uninterrupted").find("rms")
    assert set(once.keys()) == set(FeatureStore(tmp_path / "store").find("rms").keys())


def test_two_runs_fill_one_store_at_once(tmp_path: Path, fakes: ModuleType) -> None:
    clips = make_clips(tmp_path / "clips", 20)
    runs = [start_run(tmp_path, wait_s=0.02) for _ in range(2)]
    assert [run.wait(60) for run in runs] == [0, 0]
    assert len(FeatureStore(tmp_path / "store").find("rms")) == 20
    assert_right(tmp_path / "store", clips, range(20))


def test_a_file_that_kills_its_process_costs_itself_alone(tmp_path: Path, fakes: ModuleType) -> None:
    clips = make_clips(tmp_path / "clips", 10)
    make = partial(fakes.rms, kill_at=level_of(4))
    events: list[Event] = []
    report = extract(clips, make, FeatureStore(tmp_path / "store"), 2, events.append)
    assert report.n_done == 9
    assert report.failures == (("u4", f"{clips[4].audio}: the process died while at it (Killed)"),)
    assert sorted(e.id for e in events) == sorted(u.id for u in clips)
    assert_right(tmp_path / "store", clips[:4], range(4))
    assert_right(tmp_path / "store", clips[5:], range(5, 10))


def test_a_damaged_shard_is_one_line(tmp_path: Path, fakes: ModuleType) -> None:
    folder = extract(texts("yes"), fakes.letters, FeatureStore(tmp_path)).folder
    (shard,) = (folder / "shards").glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(DataError, match=rf"^\S+{shard.name}: damaged[^\n]+$"):
        extract(texts("yes"), fakes.letters, FeatureStore(tmp_path))
    shard.unlink()
    assert extract(texts("yes"), fakes.letters, FeatureStore(tmp_path)).n_done == 1


def test_many_small_shards_are_joined_at_the_end(tmp_path: Path, fakes: ModuleType) -> None:
    utterances = texts(*("a" * n for n in range(1, 101)))
    extract(utterances, fakes.letters, FeatureStore(tmp_path, flush_s=0.0))
    assert FeatureStore(tmp_path).find("letters").n_shards == 1
    assert len(load_features(FeatureStore(tmp_path), "letters", utterances)) == 100
