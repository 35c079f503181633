"""The folder of Parquet parts that predict on Ray writes: what is done, what has changed, what does not go together."""

import importlib.util
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from emofuse.errors import ConfigError
from emofuse.interfaces import cli
from emofuse.interfaces.worker import Failed, Setup
from emofuse.prediction import Prediction, Timeline

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='needs Ray: pip install "emofuse[ray]"'),
    pytest.mark.filterwarnings("ignore"),  # of Ray's import
]


@pytest.fixture
def parts():
    from emofuse.interfaces import parts

    return parts


@pytest.fixture
def folder(tmp_path, parts):
    (tmp_path / "out").mkdir()
    return parts.Folder(tmp_path / "out", "settings")


def table(*sources: str) -> pa.Table:
    return pa.table({"source": list(sources), "start_s": [0.0] * len(sources)})


def media(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).write_bytes(name.encode())
    return [folder / name for name in names]


def test_what_is_done_is_left_and_what_has_changed_is_done_again(tmp_path, parts, folder):
    files = media(tmp_path, "a.wav", "b.wav", "c.wav")
    a, b, c = inputs = [parts.Input.of(path, Setup()) for path in files]
    assert parts.open_parts(folder, inputs) == [[a], [b], [c]]
    folder.write(table(a.source, a.source, b.source), {a.source: a.state, b.source: b.state})
    assert parts.open_parts(folder, inputs) == [[c]]
    files[0].write_bytes(b"longer than it was")
    changed = parts.Input.of(files[0], Setup())
    assert parts.open_parts(folder, [changed, b, c]) == [[changed], [c]]
    assert pq.read_table(folder.path)["source"].to_pylist() == [b.source]  # not the rows of what a.wav was
    files[1].write_bytes(b"so is this")
    left = parts.open_parts(folder, [changed, parts.Input.of(files[1], Setup()), c])
    assert [i.path.name for part in left for i in part] == ["a.wav", "b.wav", "c.wav"]
    assert not list(folder.path.iterdir())


def test_an_annotation_that_changes_is_a_change_and_a_missing_one_is_the_files_own_trouble(tmp_path, parts):
    (path,) = media(tmp_path, "talk.wav")
    (tmp_path / "words").mkdir()
    setup = Setup(transcript=tmp_path / "words")
    assert parts.Input.of(path, setup).state == "missing"
    (tmp_path / "words" / "talk.txt").write_text("hello")
    before = parts.Input.of(path, setup)
    (tmp_path / "words" / "talk.txt").write_text("hello there")
    assert parts.Input.of(path, setup) != before
    assert parts.Input.of(path, Setup()) not in (before, parts.Input.of(path, setup))


def test_predictions_of_another_kind_do_not_go_into_the_same_folder(parts, folder):
    folder.write(table("a"), {"a": "1"})
    with pytest.raises(ConfigError, match="by another model or version, or with other options"):
        parts.Folder(folder.path, "others").done()


def test_options_and_weights_are_what_predictions_depend_on(tmp_path, parts):
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_text("1")
    before = parts.fingerprint(Setup(str(model)))
    assert parts.fingerprint(Setup(str(model), transcript=tmp_path)) == before  # of each file its own
    assert parts.fingerprint(Setup(str(model), threshold=0.6)) != before
    (model / "weights").write_text("2")
    assert parts.fingerprint(Setup(str(model))) != before
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "weights").write_text("1")
    assert parts.fingerprint(Setup(str(tmp_path / "moved"))) == before


def test_a_part_holds_the_rows_of_what_did_not_fail(tmp_path, parts, folder):
    files = [parts.Input.of(path, Setup()) for path in media(tmp_path, "a.wav", "bad.wav", "silent.wav")]
    probabilities = {"angry": 0.1, "happy": 0.2, "neutral": 0.3, "sad": 0.4}
    p = Prediction("a.wav", 0, 1, None, "hi", "sad", probabilities, ("speech",), ("visual", "text"), 0.4, True)
    found = [Timeline("a.wav", 1, (p,)), Failed("bad.wav: no"), Timeline("silent.wav", 1, (), ("nobody speaks",))]
    told = parts.PartPredictor(Setup(), folder).finish(list(zip(files, found, strict=True)))
    assert [what for _, what in told] == [(), found[1], ("nobody speaks",)]
    (row,) = pq.read_table(folder.path).to_pylist()
    assert row["source"] == files[0].source
    assert [row[f"p_{name}"] for name in probabilities] == list(probabilities.values())
    assert parts.open_parts(folder, files) == [[files[1]]]  # what failed is tried again


@pytest.mark.parametrize("more", [[], ["--out", "x", "--format", "json"], ["--out", "x", "--report", "page.html"]])
def test_what_ray_does_not_write_is_refused(tmp_path, monkeypatch, more):
    monkeypatch.chdir(tmp_path)
    media(tmp_path, "a.wav")
    with pytest.raises(ConfigError, match="give --out FOLDER"):
        CliRunner().invoke(cli.app, ["predict", "a.wav", "--ray", "auto", *more], catch_exceptions=False)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonsense"])
def test_a_cluster_that_is_not_there_is_told_at_once(tmp_path, address):
    from emofuse.extraction.cluster import Cluster

    with pytest.raises(ConfigError, match=f"--ray {address}: no Ray cluster answers"), Cluster(address).joined():
        pass


def test_a_setup_is_the_same_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words").mkdir()
    setup = Setup(transcript=Path("words"), asr="tiny.en", face_detector=Path("absent"))
    assert setup.absolute() == Setup(transcript=tmp_path / "words", asr="tiny.en", face_detector=Path("absent"))
