"""`emofuse predict` as its user runs it: what may be named, what is written where, and a bad file among good ones."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from emofuse.errors import ConfigError, DataError
from emofuse.interfaces import cli
from emofuse.interfaces.predict import Job, expand, targets
from emofuse.interfaces.worker import beside


def tone(path: Path, seconds: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(np.arange(round(16_000 * seconds)) / 20), 16_000)
    return path


def run(*arguments: object, code: int = 0) -> tuple[str, str]:
    """Standard output and error of a command that ends with `code`."""
    result = CliRunner().invoke(cli.app, ["predict", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def test_files_folders_patterns_and_lists_are_expanded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.wav", "a.wav", "deep/c.MP3", "deep/.hidden/d.wav", "deep/notes.txt"):
        tone(tmp_path / name) if name.endswith("wav") else _touch(tmp_path / name)
    (tmp_path / "list.txt").write_text("b.wav\n\ndeep\n")
    assert expand(["b.wav", "a.wav"]) == [Path("b.wav"), Path("a.wav")]
    assert expand(["deep"]) == [Path("deep/c.MP3")]
    assert expand(["*.wav", "a.wav"]) == [Path("a.wav"), Path("b.wav"), Path("a.wav")]
    assert expand([str(tmp_path / "*.wav")]) == [tmp_path / "a.wav", tmp_path / "b.wav"]
    assert expand(["@list.txt"]) == [Path("b.wav"), Path("deep/c.MP3")]
    assert expand(["absent.wav"]) == [Path("absent.wav")]  # refused later, with the reason


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize(
    ("argument", "message"),
    [("empty", "no media file in this folder"), ("*.flac", "no file is named so"), ("@none.txt", "cannot be read")],
)
def test_what_names_nothing_is_refused(tmp_path, monkeypatch, argument, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        expand([argument])


def test_annotations_in_a_folder_are_found_by_name(tmp_path):
    (tmp_path / "talk.srt").touch()
    (tmp_path / "talk.csv").touch()
    assert beside(tmp_path, Path("x/talk.mp4"), [".srt", ".vtt"]) == tmp_path / "talk.srt"
    assert beside(None, Path("talk.mp4"), [".srt"]) is None
    with pytest.raises(DataError, match=r"found talk\.csv, talk\.srt, need one"):
        beside(tmp_path, Path("talk.mp4"), [".srt", ".csv"])
    with pytest.raises(DataError, match="found none of other"):
        beside(tmp_path, Path("other.mp4"), [".srt"])


def test_where_results_go(tmp_path):
    a, b, c = Path("x/a.wav"), Path("y/a.wav"), Path("b.wav")
    assert targets([c], None, "json", ".jsonl") == {}
    assert targets([a, c], tmp_path, "json", ".jsonl") == {a: tmp_path / "a.jsonl", c: tmp_path / "b.jsonl"}
    assert targets([a, b], tmp_path, "srt", ".srt") == {a: tmp_path / "x_a.srt", b: tmp_path / "y_a.srt"}
    same = [Path("x/a.wav"), Path("x/a.mp4"), Path("b.wav")]
    assert [p.name for p in targets(same, tmp_path, "srt", ".srt").values()] == ["x_a.wav.srt", "x_a.mp4.srt", "b.srt"]
    assert targets([c, c], tmp_path, "srt", ".srt") == {c: tmp_path / "b.srt"}
    far = [Path("/1/x/y/z/a.wav"), Path("/2/x/y/z/a.wav")]
    assert [p.name for p in targets(far, tmp_path, "srt", ".srt").values()] == [
        "1_x_y_z_a.wav.srt",
        "2_x_y_z_a.wav.srt",
    ]
    with pytest.raises(ConfigError, match="under one name"):
        targets([Path("x/a.wav"), Path("y/a.wav"), Path("x_a.wav")], tmp_path, "srt", ".srt")
    assert targets([c], tmp_path / "b.srt", "srt", ".srt") == {c: tmp_path / "b.srt"}
    assert targets([c], tmp_path / "new", "json", ".jsonl") == {c: tmp_path / "new" / "b.jsonl"}
    assert targets([c], tmp_path / "b.json", "json", ".jsonl") == {}
    assert targets([a, c], tmp_path / "all.csv", "csv", ".csv") == {}
    with pytest.raises(ConfigError, match="--out FOLDER"):
        targets([a, c], None, "eaf", ".eaf")
    with pytest.raises(ConfigError, match="--out FOLDER"):
        targets([a, c], tmp_path / "all.eaf", "eaf", ".eaf")


def test_a_bad_file_among_good_ones_is_listed_and_the_others_are_done(tmp_path):
    good, bad, other = tone(tmp_path / "a.wav"), tmp_path / "b.wav", tone(tmp_path / "c.wav")
    bad.write_text("this is not sound")
    out, err = run(good, bad, other, "--format", "json", code=1)
    assert [Path(json.loads(line)["source"]).name for line in out.splitlines()] == ["a.wav", "c.wav"]
    assert "1 of 3 files failed" in err
    assert str(bad) in err


def test_a_disk_that_gives_out_costs_one_file(tmp_path, monkeypatch):
    good, bad = tone(tmp_path / "a.wav"), tone(tmp_path / "b.wav")
    predict = Job.predict

    def fails(self, path, title):
        if path == bad:
            raise OSError(5, "Input/output error")
        return predict(self, path, title)

    monkeypatch.setattr(Job, "predict", fails)
    out, err = run(bad, good, "--format", "json", code=1)
    assert len(out.splitlines()) == 1
    assert f"{bad}: Input/output error" in err


def test_tables_of_several_recordings_stand_apart(tmp_path):
    out, _ = run(tone(tmp_path / "a.wav"), tone(tmp_path / "b.wav"))
    assert f"\n\n{tmp_path / 'b.wav'}\n" in out
    run(tmp_path / "a.wav", tmp_path / "b.wav", "--out", tmp_path / "r.txt")
    assert (tmp_path / "r.txt").read_text(encoding="utf-8") == out


def test_a_folder_of_results_is_resumed(tmp_path):
    tone(tmp_path / "in" / "a.wav")
    tone(tmp_path / "in" / "b.wav")
    results = tmp_path / "results"
    run(tmp_path / "in", "--format", "json", "--out", results)
    assert sorted(p.name for p in results.iterdir()) == ["a.jsonl", "b.jsonl"]
    (results / "a.jsonl").write_text("mine")
    (results / "b.jsonl").unlink()
    _, err = run(tmp_path / "in", "--format", "json", "--out", results, "--resume")
    assert "1 of 2 files are done already" in err
    assert (results / "a.jsonl").read_text() == "mine"
    assert json.loads((results / "b.jsonl").read_text())["label"]


@pytest.mark.parametrize(
    ("format", "holds"),
    [
        ("csv", "p_angry"),
        ("textgrid", "IntervalTier"),
        ("eaf", "ANNOTATION_DOCUMENT"),
        ("srt", "-->"),
        ("text", "tone"),
    ],
)
def test_every_format_prints_and_writes_the_same(tmp_path, format, holds):
    clip = tone(tmp_path / "tone.wav")
    out, _ = run(clip, "--format", format)
    assert holds in out
    run(clip, "--format", format, "--out", tmp_path / "result.x")
    written = (tmp_path / "result.x").read_text(encoding="utf-8")
    # of ELAN's files: when it was written, and where the recording is from there
    here = re.compile(r' (DATE|MEDIA_URL|RELATIVE_MEDIA_URL)="[^"]*"')
    assert here.sub("", written) == here.sub("", out.replace("\r\n", "\n"))
    assert not list(tmp_path.glob("*.partial"))


def test_elan_finds_the_recording_from_the_folder_of_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tone(tmp_path / "in" / "a.wav")
    run("in", "--format", "eaf", "--out", "results")
    assert 'RELATIVE_MEDIA_URL="./../in/a.wav"' in (tmp_path / "results" / "a.eaf").read_text(encoding="utf-8")


def test_one_csv_holds_all_recordings_under_one_header(tmp_path):
    a, b = tone(tmp_path / "a.wav"), tone(tmp_path / "b.wav")
    out, _ = run(a, b, "--format", "csv")
    assert out.count("p_angry") == 1
    assert len(out.splitlines()) == 3


def test_segments_transcript_and_threshold(tmp_path):
    clip = tone(tmp_path / "a.wav", 4)
    (tmp_path / "s.csv").write_text("start_s,end_s,speaker\n0,1.5,Anna\n2,3.5,Ben\n")
    (tmp_path / "t.srt").write_text("1\n00:00:00,100 --> 00:00:01,200\nI love it\n")
    arguments = ("--segments", tmp_path / "s.csv", "--transcript", tmp_path / "t.srt", "--threshold", "1")
    out, _ = run(clip, *arguments, "--format", "json")
    first, second = map(json.loads, out.splitlines())
    assert (first["start_s"], first["end_s"], first["speaker"], first["text"]) == (0, 1.5, "Anna", "I love it")
    assert first["modalities"] == ["speech", "text"]
    assert [w["text"] for w in first["words"]] == ["I", "love", "it"]
    assert first["weights"]["speech"] + first["weights"]["text"] == pytest.approx(1, abs=1e-3)
    assert second["speaker"] == "Ben"
    assert second["missing"][-1] == "text"
    assert first["unsure"]
    assert second["unsure"]


def test_a_silent_file_is_no_failure_and_says_so(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(32_000), 16_000)
    out, err = run(tmp_path / "silent.wav", "--format", "json")
    assert out == ""
    assert err.rstrip().endswith("silent.wav: silent")


def test_a_report_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    result = CliRunner().invoke(cli.app, ["predict", "absent.wav", "--report", str(tmp_path / "no" / "r.html")])
    assert isinstance(result.exception, ConfigError)
    assert "there is no folder" in str(result.exception)


def test_the_report_is_written(tmp_path):
    (tmp_path / "bad.wav").write_text("no sound")
    run(tone(tmp_path / "a.wav"), tmp_path / "bad.wav", "--report", tmp_path / "r.html", code=1)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "a.wav" in page
    assert "Model card" in page or "model card" in page
    assert "bad.wav: not a media file" in page


def test_several_processes_give_what_one_gives_in_the_same_order(tmp_path):
    files = [tone(tmp_path / f"{name}.wav", seconds) for name, seconds in (("a", 3.0), ("c", 0.5), ("d", 1.0))]
    bad = tmp_path / "b.wav"
    bad.write_text("this is not sound")
    files.insert(1, bad)
    expected, told = run(*files, "--format", "csv", code=1)
    found, also_told = run(*files, "--format", "csv", "--jobs", 2, code=1)
    assert found == expected
    assert also_told == told
    out = tmp_path / "out"
    run(files[0], "--format", "json", "--out", out)
    _, again = run(*files, "--format", "json", "--jobs", 2, "--out", out, "--resume", code=1)
    assert sorted(path.name for path in out.iterdir()) == ["a.jsonl", "c.jsonl", "d.jsonl"]
    assert "1 of 4 files are done already" in again
    assert "1 of 3 files failed" in again


def test_a_model_that_cannot_be_loaded_ends_the_command_before_its_first_file(tmp_path):
    files = [tone(tmp_path / f"{name}.wav") for name in "ab"]
    with pytest.raises(DataError, match="no such model folder"):
        run(*files, "--model", tmp_path / "none")
