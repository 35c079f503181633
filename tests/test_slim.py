"""Without torch: a process that cannot find it predicts, and says what needs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from emofuse.predictor import load

# What is not installed is not found: `import torch` raises what it raises there, and `find_spec` gives None.
SLIM = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
missing = {"torch", "silero_vad", "onnx"}
PathFinder.find_spec = lambda name, *more: None if name.partition(".")[0] in missing else find(name, *more)
from emofuse.interfaces.cli import main
main()
"""


def slim(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line in such a process."""
    command = [sys.executable, "-c", SLIM, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_model_that_ships_predicts_the_same_without_torch(example_clip: Path) -> None:
    text = "I am so happy to see you, this is wonderful!"
    done = slim("predict", example_clip, "--text", text, "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    expected = load(engine="torch").predict(example_clip, text)[0].to_dict()
    assert found["label"] == expected["label"]
    assert found["modalities"] == ["speech", "text"]
    assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-3)
    assert len(found["words"]) == len(text.split())
    assert sum(m["weight"] for m in found["moments"]) == pytest.approx(1, abs=0.01)


def test_voice_activity_and_sound_alone_need_no_torch(example_clip: Path) -> None:
    done = slim("predict", example_clip, "--format", "json", "--engine", "onnx")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["modalities"] == ["speech"]


def test_what_lists_and_what_extracts_without_a_network_works(example_clip: Path, tmp_path: Path) -> None:
    assert "export" in slim("--help").stdout
    assert "whisper-lower" in slim("features").stdout
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.wav").write_bytes(example_clip.read_bytes())
    done = slim("extract", "whisper-lower", "log-mel", "--data", tmp_path / "clips", "--out", tmp_path / "store")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "recipe.toml", "--data", "x", "--out", "y"),
        ("evaluate", "default", "--data", "x", "--corpus", "emodb"),
        ("benchmark", "recipe.toml", "--data", "x"),
        ("export", "--out", "y"),
        ("models",),
    ],
    ids=lambda a: a[0],
)
def test_what_needs_torch_says_so_in_one_line(arguments: tuple[str, ...]) -> None:
    done = slim(*arguments)
    assert done.returncode == 2
    assert done.stderr == f'emofuse: `emofuse {arguments[0]}` needs torch here: pip install "emofuse[torch]"\n'


def test_an_engine_that_is_not_installed_is_said_in_one_line(example_clip: Path) -> None:
    done = slim("predict", example_clip, "--engine", "torch")
    assert done.returncode == 2
    assert done.stderr.startswith("emofuse: ")
    assert done.stderr.endswith('needs torch: pip install "emofuse[torch]", or take --engine onnx\n')
    assert done.stderr.count("\n") == 1


def test_predicting_waits_for_no_library_that_it_does_not_use(example_clip: Path) -> None:
    code = (
        "import sys, emofuse; emofuse.load().predict(sys.argv[1]);"
        "unused = 'torch', 'sklearn', 'scipy.signal', 'scipy.optimize', 'pandas', 'matplotlib';"
        "print([m for m in unused if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, example_clip], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
