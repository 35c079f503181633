"""`emofuse extract` and `emofuse features` as their user runs them."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from typer.testing import CliRunner

from emofuse.errors import ConfigError, DataError
from emofuse.extractors import EXTRACTORS, make_extractor
from emofuse.interfaces import cli


def run(*arguments: object, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(cli.app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for n in range(3):
        soundfile.write(folder / f"{n}.wav", 0.1 * np.random.default_rng(n).standard_normal(16_000), 16_000)
    return folder


def test_every_feature_is_listed_with_what_it_needs():
    out, _ = run("features")
    assert [line.split()[0] for line in out.splitlines()] == list(EXTRACTORS)
    assert 'pip install "emofuse[opensmile]"' in out


def test_a_folder_is_extracted_once(clips, tmp_path):
    store = tmp_path / "store"
    out, _ = run("extract", "log-mel", "--data", clips, "--out", store, "--set", "n_mels=20")
    assert "log-mel: 3 computed, 0 found, 0 failed" in out
    out, _ = run("extract", "log-mel", "--data", clips, "--out", store, "--set", "n_mels=20")
    assert "log-mel: 0 computed, 3 found, 0 failed" in out
    out, _ = run("extract", "log-mel", "waveform", "--data", clips, "--out", store)  # other settings, another feature
    assert "log-mel: 3 computed" in out
    assert "waveform: 3 computed" in out


def test_failures_are_listed_and_the_exit_code_says_so(clips, tmp_path):
    (clips / "bad.wav").write_text("no sound")
    out, err = run("extract", "log-mel", "--data", clips, "--out", tmp_path / "store", code=1)
    assert "3 computed, 0 found, 1 failed" in out
    assert "log-mel: bad.wav:" in err
    (table,) = (tmp_path / "store").glob("*/failures.csv")
    assert [row["id"] for row in csv.DictReader(table.read_text().splitlines())] == ["bad.wav"]


def test_a_table_of_ones_own_is_exported(clips, tmp_path):
    (clips / "table.csv").write_text("id,audio,text\na,0.wav,hello\nb,1.wav,\n")
    export = tmp_path / "x.parquet"
    run("extract", "log-mel", "--data", clips / "table.csv", "--out", tmp_path / "s", "--export", export)
    table = pq.read_table(export)
    assert table["id"].to_pylist() == ["a", "b"]
    assert len(table["values"][0].as_py()[0]) == 80


def test_the_licence_is_said_where_it_matters(clips, tmp_path):
    pytest.importorskip("opensmile")
    out, err = run("extract", "egemaps", "--data", clips, "--out", tmp_path / "s")
    assert "3 computed" in out
    assert "licen" in err.lower()


@pytest.mark.parametrize(
    ("name", "encoder", "options", "message"),
    [
        ("log-mel", "x", {}, "has no encoder to choose"),
        ("log-mel", None, {"n_mel": 3}, "log-mel: no option 'n_mel'; it has n_mels"),
        ("log-mel", None, {"n_mels": "many"}, "log-mel: n_mels is 'many', need a whole number"),
        ("log-mel", None, {"n_mels": True}, "n_mels is True, need a whole number"),
        ("waveform", None, {"level": 1}, "waveform: no option 'level'; it has none"),
        ("nothing", None, {}, "unknown feature 'nothing'; known: waveform, "),
        ("wav2vec2", None, {}, "which encoder"),
        ("face-probabilities", "/nowhere", {}, "/nowhere"),
    ],
)
def test_what_cannot_be_made_is_one_line(name, encoder, options, message):
    with pytest.raises((ConfigError, DataError), match=message) as error:
        make_extractor(name, encoder, options)
    assert "\n" not in str(error.value)
