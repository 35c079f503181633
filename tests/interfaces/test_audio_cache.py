"""Training from decoded sound on disk gives the model that training from memory gives."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file
from typer.testing import CliRunner

from emofuse.extraction import decoded
from emofuse.interfaces import cli

RECIPE = """
name = "small"
paper = "none"
command = "none"
expected = "nothing"
corpus = "manifest"
protocol = "split"
labels = "emotions4"
systems = ["cma-speech"]
[features]
speech = { kind = "waveform", level = "rms" }
[model]
filters = [4, 4, 4]
d_model = 4
n_heads = 2
[training]
max_epochs = 2
batch_size = 4
crop_s = 0.3
augment = 0.3
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with a table of 16 clips of 16 bits, and a recipe."""
    rng = np.random.default_rng(0)
    rows = ["id,audio,label,split"]
    for i in range(16):
        samples = rng.integers(-9000, 9000, 6400 + 400 * (i % 4)).astype(np.int16)
        soundfile.write(tmp_path / f"{i}.wav", samples, 16_000)
        label = ("angry", "happy", "neutral", "sad")[i % 4]
        rows.append(f"{i},{i}.wav,{label},{'test' if i % 3 == 2 else 'train'}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


def run(*arguments: object) -> None:
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def train(corpus: Path, out: str, *more: object) -> dict[str, np.ndarray]:
    run("train", corpus / "recipe.toml", "--data", corpus / "table.csv", "--out", corpus / out, *more)
    return load_file(corpus / out / "model.safetensors")


def caches(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.audio.safetensors"))


def test_the_model_is_the_same_and_nothing_stays_that_was_not_asked_for(corpus: Path, monkeypatch) -> None:
    held = train(corpus, "held", "--audio-cache", "off")
    mapped = train(corpus, "mapped")
    assert caches(corpus) == []
    kept = train(corpus, "kept", "--features", corpus / "store")
    (file,) = caches(corpus)
    assert file.parent == corpus / "store" / "audio"
    monkeypatch.setattr(decoded, "read_audio", lambda *_: 1 / 0)  # every sample that is heard is in the file
    again = train(corpus, "again", "--audio-cache", file.parent)
    for other in (mapped, kept, again):
        assert set(other) == set(held)
        assert all(np.array_equal(other[name], held[name]) for name in held)


def test_jobs_of_a_benchmark_share_one_file(corpus: Path) -> None:
    command = ["benchmark", corpus / "recipe.toml", "--data", corpus / "table.csv", "--out", corpus / "out"]
    run(*command, "--seeds", 2, "--jobs", 2, "--audio-cache", corpus / "cache", "--set", "training.max_epochs=1")
    assert len(caches(corpus)) == 1
    run(*command[:-1], corpus / "other", "--set", "training.max_epochs=1")
    assert len(caches(corpus)) == 1
    assert not (corpus / "other" / "state" / "audio").exists()
