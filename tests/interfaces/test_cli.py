"""The command line as its user runs it: output, exit codes, and one clear line for bad input."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from emofuse.interfaces import cli

CLIP = Path(__file__).parents[2] / "examples" / "hello.wav"
FIELDS = {"source", "start_s", "end_s", "speaker", "text", "label", "probabilities", "modalities", "missing"}


def run(*arguments: object) -> str:
    """Output of a command that must succeed."""
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    """The one line on stderr of a command that must exit 2."""
    monkeypatch.setattr(sys, "argv", ["emofuse", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("emofuse: ")
    assert line.count("\n") == 1
    return line


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.1 * np.sin(np.arange(16_000) / 20), 16_000)
    return path


def test_models_json_gives_the_papers_counts() -> None:
    counts = {row["name"]: row["n_parameters"] for row in json.loads(run("models", "--json"))}
    assert counts["clstm-speech"] == counts["clstm-text"] == 1_265_804
    assert counts["clstm-visual"] == 1_760_204
    assert counts["clstm-ef"] == 2_000_204
    assert counts["clstm-lf"] == 4_729_616
    assert counts["clstm-mma"] == 1_274_504
    assert counts["mman"] == 5_566_384
    assert {"cma", "cma-spectrogram", "cma-speech", "cma-text"} <= set(counts)


def test_corpora_lists_every_reader() -> None:
    names = [line.split()[0] for line in run("corpora").splitlines()]
    tables = ["iemocap", "iemocap-table", "meld", "meld-table", "mosi-table"]
    clips = ["emodb", "ravdess", "crema-d", "tess", "savee"]
    assert names == [*tables, *clips, "goemotions", "ferplus", "manifest", "bclstm-pickle", "mmsa-pickle"]


def test_corpora_check_counts_and_fails_on_what_is_inconsistent(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "table.csv"
    table.write_text(
        f"id,label,dialogue,index,split,audio\na,angry,d,0,train,{clip.name}\nb,sad,d,1,train,{clip.name}\n"
    )
    assert "angry 1, sad 1" in run("corpora", "check", "manifest", table)
    table.write_text(
        f"id,label,dialogue,index,split,audio\na,angry,d,0,train,{clip.name}\nb,sad,d,1,test,{clip.name}\n"
    )
    monkeypatch.setattr(sys, "argv", ["emofuse", "corpora", "check", "manifest", str(table)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "dialogue d" in capsys.readouterr().err


def test_predict_prints_one_json_object_a_line(clip: Path) -> None:
    lines = run("predict", CLIP, clip, "--format", "json").splitlines()
    assert len(lines) == 2
    for line in lines:
        prediction = json.loads(line)
        assert set(prediction) >= FIELDS
        assert prediction["modalities"] == ["speech"]
        assert prediction["missing"] == ["visual", "text"]
        assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-3)
        assert prediction["label"] == max(prediction["probabilities"], key=prediction["probabilities"].get)


def test_predict_uses_the_words(clip: Path) -> None:
    happy, angry = (
        json.loads(run("predict", clip, "--text", text, "--format", "json"))
        for text in ("This is wonderful, I love it, thank you!", "I hate you, you stupid idiot, this is disgusting!")
    )
    assert happy["modalities"] == ["speech", "text"]
    assert happy["text"] == "This is wonderful, I love it, thank you!"
    assert happy["probabilities"]["happy"] > angry["probabilities"]["happy"]
    assert happy["probabilities"]["angry"] < angry["probabilities"]["angry"]


def test_predict_text_names_label_and_what_is_missing(clip: Path) -> None:
    line = run("predict", clip)
    assert "tone.wav" in line
    assert "from speech, without visual and text" in line


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.wav", None, "absent.wav"),
        ("empty.wav", b"", "empty.wav"),
        ("words.mp4", b"these are words, not a film", "words.mp4"),
    ],
)
def test_predict_refuses_bad_files_in_one_line(
    tmp_path: Path,
    name: str,
    content: bytes | None,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert message in refused(capsys, monkeypatch, "predict", tmp_path / name)


@pytest.mark.parametrize("n_samples", [0, 320])
def test_predict_refuses_a_clip_of_zero_or_20_ms(
    tmp_path: Path, n_samples: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, np.zeros(n_samples), 16_000)
    line = refused(capsys, monkeypatch, "predict", path)
    assert "short.wav" in line
    assert "need at least 0.1 s" in line


def test_predict_refuses_an_empty_text_and_one_text_for_two_files(
    clip: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "the text is empty" in refused(capsys, monkeypatch, "predict", clip, "--text", "  ")
    assert "--text is for one file, 2 were given" in refused(capsys, monkeypatch, "predict", clip, clip, "--text", "hi")


def tiny_corpus(folder: Path) -> tuple[Path, Path]:
    """A manifest of 12 dialogues whose labels show in the features, and a recipe for it."""
    rng = np.random.default_rng(0)
    rows = ["id,label,dialogue,index,split,speech_features,text_features"]
    for d in range(12):
        for i in range(4):
            label = int(rng.integers(2))
            for modality in ("speech", "text"):
                np.save(folder / f"{modality}-{d}-{i}.npy", (rng.normal(size=4) + 2 * label).astype(np.float32))
            split = "test" if d >= 8 else "train"
            name = ("negative", "positive")[label]
            rows.append(f"u{d}-{i},{name},d{d},{i},{split},speech-{d}-{i}.npy,text-{d}-{i}.npy")
    table, recipe = folder / "table.csv", folder / "tiny.toml"
    table.write_text("\n".join(rows) + "\n")
    recipe.write_text(
        'name = "tiny"\npaper = "none"\ncommand = "none"\nexpected = "none"\ncorpus = "manifest"\nprotocol = "mosi2"\n'
        'systems = ["clstm-speech", "clstm-mma"]\n'
        '[features]\nspeech = { kind = "stored" }\ntext = { kind = "stored" }\n'
        "[model]\nd_model = 8\nn_hidden = 8\nn_dense = 8\n[training]\nmax_epochs = 3\n"
    )
    return table, recipe


def test_train_evaluate_and_benchmark_agree(tmp_path: Path) -> None:
    table, recipe = tiny_corpus(tmp_path)
    command = ["train", str(recipe), "--data", str(table), "--out", str(tmp_path / "model"), "--seed", "1"]
    trained = CliRunner().invoke(cli.app, command, catch_exceptions=False)
    assert "clstm-mma epoch 1, loss" in trained.stderr  # a line an epoch, where there is no bar
    figure = tmp_path / "reliability.png"
    scores = json.loads(run("evaluate", tmp_path / "model", "--data", table, "--json", "--figure", figure))
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert f"wa {scores['metrics']['wa']['value']:.4f}" in trained.stdout
    run("benchmark", recipe, "--data", table, "--seeds", 2, "--out", tmp_path / "runs")
    report = json.loads((tmp_path / "runs" / "report.json").read_text())
    (same,) = [r for r in report["systems"]["clstm-mma"]["runs"] if r["seed"] == 1]
    assert same["wa"] == pytest.approx(scores["metrics"]["wa"]["value"])
    assert report["selection"] == "dev"
    assert not list(tmp_path.rglob("*.partial"))


def test_bad_recipes_and_settings_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, recipe = tiny_corpus(tmp_path)
    out = tmp_path / "out"

    def train(*more: object) -> str:
        return refused(capsys, monkeypatch, "train", recipe, "--data", table, "--out", out, *more)

    assert "epoch_limit" in train("--set", "training.epoch_limit=3")
    assert "cma-speech" in train("--system", "cma-speech")
    assert "Ses09" in train("--fold", "Ses09")
    assert "colour" in train("--set", "colour=1")
    assert "absent.csv" in refused(
        capsys, monkeypatch, "train", recipe, "--data", tmp_path / "absent.csv", "--out", out
    )
    np.save(tmp_path / "speech-3-1.npy", np.full(4, np.nan, np.float32))
    assert "row" in train()
    assert not out.exists()


def test_a_killed_training_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    """Kill -9 during `emofuse train`, then the same command: same weights as without the kill."""
    table, recipe = tiny_corpus(tmp_path)
    script = (
        "import os, signal, sys\n"
        "from emofuse.interfaces import cli\n"
        "from emofuse.protocol import train\n"
        "train.SAVE_EVERY_S = 0\n"
        "real = train.save_state\n"
        "def save(*a):\n"
        "    real(*a)\n"
        "    if len(a[-1].history) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "train.save_state = save\n"
        "cli.main()\n"
    )

    def command(out: str) -> list[str]:
        return ["train", str(recipe), "--data", str(table), "--out", str(tmp_path / out)]

    killed = subprocess.run([sys.executable, "-c", script, *command("a")], capture_output=True, check=False)
    assert killed.returncode == -9
    assert not (tmp_path / "a").exists()
    run(*command("a"))
    run(*command("b"))
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_an_overlapping_split_and_a_foreign_folder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, recipe = tiny_corpus(tmp_path)
    mine = tmp_path / "holiday"
    mine.mkdir()
    (mine / "photo.txt").write_text("dear")
    line = refused(capsys, monkeypatch, "train", recipe, "--data", table, "--out", mine)
    assert "holiday: exists and is not a checkpoint" in line
    assert (mine / "photo.txt").read_text() == "dear"
    table.write_text(table.read_text().replace("d3,1,train", "d3,1,test"))
    line = refused(capsys, monkeypatch, "benchmark", recipe, "--data", table, "--out", tmp_path / "runs")
    assert "table.csv: fold test: dialogue d3 is in train and in test, need disjoint dialogues" in line
    assert not (tmp_path / "runs").exists()


def test_a_place_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, recipe = tiny_corpus(tmp_path)
    assert "table.csv" in refused(capsys, monkeypatch, "benchmark", recipe, "--data", table, "--out", table / "runs")
