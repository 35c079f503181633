"""Every case at a small size gives an entry of the promised form. No test looks at how long anything takes."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from emofuse.bench.cases import CASES, cma, find_cases, processes
from emofuse.bench.references import References
from emofuse.bench.setup import Setup
from emofuse.bench.work import cma_speech
from emofuse.errors import ConfigError, DataError
from emofuse.models.cma import CMAConfig

WANTED = {"cma_train", "cma_infer_batch", "cma_infer_single", "mman_train", "predict_file", "extract", "cold_start"}
IN_PROCESS = ("cma_train", "cma_infer_batch", "cma_infer_single", "mman_train", "decode", "extract", "predict_file")
MODELS = ("cma_train", "cma_infer_batch", "cma_infer_single", "mman_train")
STAGES = {
    "decode": {"decode", "resample"},
    "extract": {"read", "compute", "store"},
    "predict_file": {"decode", "resample", "voice activity", "features", "model"},
}


def check(name: str, entry: dict[str, Any]) -> None:
    """Form and ranges of an entry without a reference."""
    assert json.loads(json.dumps(entry)) == entry
    low, high = entry["quartiles"]["ours"]
    assert 0 < low <= entry["ours"] <= high
    assert (entry["reference"], entry["ratio"]) == (None, None)
    assert (entry["unit"], entry["runs"], entry["threads"]) == (CASES[name].unit, 2, 1)
    assert (entry["roofline_share"] is not None) == (name in MODELS)
    assert set(entry.get("stages_ms", {})) == STAGES.get(name, set())
    assert all(ms >= 0 for ms in entry.get("stages_ms", {}).values())


@pytest.mark.parametrize("name", IN_PROCESS)
def test_a_case_without_references(alone: Setup, name: str) -> None:
    check(name, CASES[name].run(alone))


def test_training_on_a_device_tells_the_share_of_its_bandwidth(alone: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cma, "find_spec", lambda _: None)  # nothing is compiled
    entry = cma.train_on(alone, torch.device("cpu"))
    assert set(entry["beside"]) == {"emofuse, float32"}
    rate = entry["bytes_moved"] * entry["ours"] / 4  # of an epoch of four utterances
    assert entry["bandwidth_share"] == pytest.approx(rate / entry["roofline"]["bytes_per_s"])
    assert entry["bytes_moved"] > entry["roofline"]["bytes"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_told_only_to_those_who_ask(alone: Setup) -> None:
    assert "cma_train_gpu" not in find_cases([])
    assert find_cases(["cma_train_gpu"]) == ["cma_train_gpu"]
    with pytest.raises(ConfigError, match="cma_train_gpu needs a GPU"):
        CASES["cma_train_gpu"].run(alone)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_training_on_a_gpu(alone: Setup) -> None:
    entry = CASES["cma_train_gpu"].run(alone)
    assert entry["ours"] > 0
    assert entry["bandwidth_share"] > 0


def test_a_server_answers_several_clients(alone: Setup) -> None:
    entry = CASES["server"].run(alone)
    check("server", entry)
    low, high = entry["latency_ms"]["quartiles"]
    assert 0 < low <= entry["latency_ms"]["median"] <= high
    assert entry["clients"] == 2


def test_a_server_that_does_not_start_is_told(alone: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_S", 0.0)
    with pytest.raises(DataError, match="emofuse serve does not start here"):
        CASES["server"].run(alone)


def test_a_process_that_fails_is_told() -> None:
    with pytest.raises(DataError, match=r"python -c import sys; sys.exit\('broken'\) failed: broken"):
        processes.run_python("-c", "import sys; sys.exit('broken')")


def test_a_case_with_its_reference(alone: Setup, references: References, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cma, "usual", lambda *_: {"absent": None, "other": lambda: None})
    entry = CASES["cma_infer_batch"].run(replace(alone, references=references))
    assert entry["reference_name"] == "plain CMA"
    assert entry["ratio"] == pytest.approx(entry["ours"] / entry["reference"])
    assert set(entry["beside"]) == {"emofuse, float32", "other"}


@pytest.mark.parametrize(("name", "n_clips"), [("cma_infer_batch", 2), ("cma_infer_single", 1)])
def test_the_share_is_of_the_time_that_one_run_took(alone: Setup, name: str, n_clips: int) -> None:
    """Clips of 0.6 s; the machine is what the case says that it found."""
    entry = CASES[name].run(replace(alone, runs=3))  # of an odd number the median is one of them
    found = entry["roofline"]
    assert found["flops"] == n_clips * cma_speech(CMAConfig(modalities=("speech",)), 9600).all
    least_s = max(found["flops"] / max(found["flops_per_s"].values()), found["bytes"] / found["bytes_per_s"])
    taken_s = entry["ours"] / 1000 if entry["unit"] == "ms" else n_clips * 0.6 / entry["ours"]
    assert found["least_s"] == pytest.approx(least_s)
    assert entry["roofline_share"] == pytest.approx(least_s / taken_s)


def test_the_promised_cases_are_there() -> None:
    assert set(CASES) >= WANTED
    assert [name for name in CASES if name not in find_cases([])] in ([], ["cma_train_gpu"])
    assert find_cases(["decode", "extract", "decode"]) == ["decode", "extract"]


def test_an_unknown_case_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown case 'cma'; known: cma_train, "):
        find_cases(["cma"])
