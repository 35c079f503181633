import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from emofuse.protocol import record
from emofuse.protocol.record import RunResult


def result() -> RunResult:
    """With probabilities as a network gives them: float32."""
    y_prob = np.random.default_rng(0).dirichlet(np.ones(3), 5).astype(np.float32).astype(np.float64)
    history = [{"epoch": 1, "loss": 0.25, "ua": 0.5}, {"epoch": 2, "loss": 0.125, "ua": 0.75}]
    ids, groups = ("a", "b", "c", "ü", "e"), ("s1", "s1", "s2", "s2", "s2")
    return RunResult(
        "mman", "Ses05", 7, ("x", "y", "z"), 99, 1.5, 2, history, ids, groups, np.array([0, 2, 1, 1, 2]), y_prob
    )


def test_a_record_is_read_back_as_it_was(tmp_path: Path) -> None:
    saved = result()
    saved.save(tmp_path / "new" / "run", "1234")
    loaded = RunResult.load(tmp_path / "new" / "run", "1234")
    expected, found = asdict(saved), asdict(loaded)
    for key in ("y_true", "y_prob"):
        np.testing.assert_array_equal(found.pop(key), expected.pop(key))
    assert found == expected
    assert loaded.metrics == saved.metrics


def test_a_record_says_its_metrics_and_leaves_nothing_temporary(tmp_path: Path) -> None:
    result().save(tmp_path, "1234")
    assert {p.name for p in tmp_path.iterdir()} == {"run.json", "predictions.parquet"}
    meta = json.loads((tmp_path / "run.json").read_text())
    assert meta["metrics"] == result().metrics
    assert meta["fingerprint"] == "1234"


def test_a_record_of_another_fingerprint_is_not_read_back(tmp_path: Path) -> None:
    assert RunResult.load(tmp_path / "nowhere", "1234") is None
    result().save(tmp_path, "1234")
    assert RunResult.load(tmp_path, "1235") is None
    replace(result(), seed=8).save(tmp_path, "1235")
    assert RunResult.load(tmp_path, "1235").seed == 8
    assert RunResult.load(tmp_path, "1234") is None


def test_a_record_without_its_last_file_is_no_record(tmp_path: Path) -> None:
    result().save(tmp_path, "1234")
    (tmp_path / "run.json").unlink()
    assert RunResult.load(tmp_path, "1234") is None


def test_an_interrupted_rewrite_does_not_pass_for_the_former_run(tmp_path: Path, monkeypatch) -> None:
    result().save(tmp_path, "1234")

    def die(*args: object, **keywords: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(record.json, "dumps", die)
    with pytest.raises(KeyboardInterrupt):
        replace(result(), seed=8).save(tmp_path, "1235")
    assert RunResult.load(tmp_path, "1234") is None
