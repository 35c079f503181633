"""`docs/own-data.md`, run as it is written on clips that stand for a newcomer's."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from emofuse.interfaces import cli

PAGE = (Path(__file__).parents[1] / "docs" / "own-data.md").read_text(encoding="utf-8")
PITCH = {"angry": 500, "happy": 350, "neutral": 220, "sad": 120}
SPLITS = {"anna": "train", "bert": "train", "carl": "dev", "dora": "test"}


def block(language: str) -> str:
    """The page's only block of code in a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


def clip(pitch: float, rng: np.random.Generator) -> np.ndarray:
    """A second of a voice-like tone: harmonics of a wavering pitch."""
    t = np.arange(16_000) / 16_000
    f = pitch * rng.uniform(0.95, 1.05) * (1 + 0.02 * np.sin(2 * np.pi * 5 * t))
    phase = 2 * np.pi * np.cumsum(f) / 16_000
    tone = sum(np.sin(k * phase) / k for k in range(1, 6))
    return 0.1 * tone + 0.005 * rng.standard_normal(len(t))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page says one needs: clips, a table of the page's columns, the page's recipe, a new recording."""
    rng = np.random.default_rng(0)
    (tmp_path / "clips").mkdir()
    columns = next(csv.reader([block("csv").splitlines()[0]]))
    with (tmp_path / "clips" / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for speaker, split in SPLITS.items():
            for label, pitch in PITCH.items():
                for n in range(4 if split == "train" else 2):
                    name = f"{speaker}-{label}-{n}"
                    soundfile.write(tmp_path / "clips" / f"{name}.wav", clip(pitch, rng), 16_000)
                    row = {"id": name, "audio": f"{name}.wav", "speaker": speaker, "label": label, "split": split}
                    writer.writerow(row)
    (tmp_path / "my-recipe.toml").write_text(block("toml"))
    soundfile.write(tmp_path / "new.wav", clip(PITCH["sad"], rng), 16_000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_five_commands_of_the_page_work_as_written(folder: Path) -> None:
    commands = block("sh").splitlines()
    assert len(commands) == 5
    printed = []
    for command in commands:
        name, *arguments = shlex.split(command)
        assert name == "emofuse"
        result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        printed.append(result.stdout)
    assert "48 computed, 0 found, 0 failed" in printed[1]
    assert (folder / "my-model" / "model.safetensors").exists()
    assert "8 utterances" in printed[3]
    assert "new.wav" in printed[4]
    assert "<html" in (folder / "new.html").read_text(encoding="utf-8")
    # the model has learnt something: the page's network tells four pitches apart
    config = json.loads((folder / "my-model" / "config.json").read_text())
    assert config["provenance"]["test"]["ua"] > 0.5
    # and a second run looks the features up
    again = CliRunner().invoke(cli.app, shlex.split(commands[1])[1:], catch_exceptions=False)
    assert "0 computed, 48 found" in again.stdout
