import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emofuse.protocol import benchmark as benchmark_module
from emofuse.protocol import run as run_module
from emofuse.protocol.benchmark import Plan, Session, run_all
from emofuse.protocol.metrics import compute_metrics
from emofuse.protocol.recipe import Recipe
from emofuse.protocol.record import RunResult
from emofuse.protocol.statistics import METRICS
from emofuse.protocol.summary import summarise, write_json

LABELS = ("angry", "happy", "neutral", "sad")
WORDS = {"angry": "rage so", "happy": "glad very glad", "neutral": "the calm", "sad": "tears of tears"}
FAMILY = ["clstm-speech", "clstm-ef", "clstm-lf", "clstm-mma", "mman"]
PARTS = ["clstm-mma", "clstm-speech", "clstm-text"]


def write_corpus(folder: Path, n_dialogues: int, n_turns: int, shuffle_labels: bool = False) -> Path:
    """A manifest of dialogues, every third one test; the label shows in features and words unless shuffled."""
    rng = np.random.default_rng(0)
    shown = [[int(rng.integers(4)) for _ in range(n_turns)] for _ in range(n_dialogues)]
    labels = rng.permutation(np.concatenate(shown)) if shuffle_labels else np.concatenate(shown)
    rows = ["id,label,dialogue,split,text,speech_features,text_features"]
    for d, turns in enumerate(shown):
        for i, y in enumerate(turns):
            for modality, dim in (("speech", 6), ("text", 5)):
                x = rng.normal(size=dim).astype(np.float32)
                x[y] += 3
                np.save(folder / f"{modality}-{d}-{i}.npy", x)
            label, split = LABELS[labels[d * n_turns + i]], "test" if d % 3 == 2 else "train"
            rows.append(f"{d}-{i},{label},d{d},{split},{WORDS[LABELS[y]]},speech-{d}-{i}.npy,text-{d}-{i}.npy")
    (folder / "corpus.csv").write_text("\n".join(rows))
    return folder / "corpus.csv"


def make_recipe(systems: list[str], **changes: Any) -> Recipe:
    content = {
        "name": "small",
        "paper": "none",
        "command": "emofuse benchmark small.toml",
        "expected": "nothing",
        "corpus": "manifest",
        "protocol": "split",
        "labels": "emotions4",
        "systems": systems,
        "features": {"speech": {"kind": "stored", "n_components": 4}, "text": {"kind": "stored"}},
        "model": {"d_model": 4, "n_hidden": 8, "n_dense": 6},
        "training": {"max_epochs": 2, "batch_size": 4},
    }
    return Recipe.model_validate(content | changes)


def run_plan(plan: Plan) -> list[RunResult]:
    return run_all(Session(plan), lambda event: None)


def assert_same(a: list[RunResult], b: list[RunResult]) -> None:
    """Everything but the times."""
    for one, other in zip(a, b, strict=True):
        for key in ("system", "fold", "seed", "classes", "n_parameters", "best_epoch", "history", "ids", "groups"):
            assert getattr(one, key) == getattr(other, key)
        np.testing.assert_array_equal(one.y_true, other.y_true)
        np.testing.assert_array_equal(one.y_prob, other.y_prob)


def numbers(plan: Plan, results: list[RunResult]) -> dict[str, Any]:
    """The report without the times, which no two runs share."""
    report = json.loads(json.dumps(summarise(plan, results)))
    for entry in report["systems"].values():
        assert entry.pop("seconds") > 0
        assert entry.pop("cpu_seconds") > 0
    return report


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Plan, list[RunResult], list[str]]:
    """Plan, results and events of the family under two seeds."""
    folder = tmp_path_factory.mktemp("corpus")
    plan = Plan(make_recipe(FAMILY), write_corpus(folder, 9, 4), folder / "out", (0, 1), device="cpu")
    events: list[str] = []
    return plan, run_all(Session(plan), events.append), events


def test_the_report_has_the_keys_of_its_schema(done, tmp_path):
    plan, results, _ = done
    write_json(tmp_path / "report.json", summarise(plan, results))
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
    report = json.loads((tmp_path / "report.json").read_text())
    asked = {"recipe", "protocol", "selection", "seeds", "systems", "comparisons"}
    assert set(report) == asked | {"primary_metric", "published", "averaged"}
    assert list(report["averaged"]) == FAMILY
    assert (report["recipe"], report["protocol"]) == ("small", "split")
    assert (report["selection"], report["seeds"]) == ("dev", [0, 1])
    assert list(report["systems"]) == FAMILY
    for entry in report["systems"].values():
        assert set(entry) == {
            "n_parameters",
            "seconds",
            "cpu_seconds",
            "metrics",
            "runs",
            "recalls",
            "confusion",
            "classes",
        }
        assert set(entry["metrics"]) == {"wa", "ua", "f1_macro", "f1_weighted", "ece"}
        for metric in entry["metrics"].values():
            assert set(metric) == {"mean", "std", "ci95"}
            assert metric["ci95"][0] <= metric["ci95"][1]
        assert [(r["seed"], r["fold"]) for r in entry["runs"]] == [(0, "test"), (1, "test")]
        assert all(set(r) == {"seed", "fold", "best_epoch", "n_test", *METRICS} for r in entry["runs"])
    pairs = [(c["a"], c["b"]) for c in report["comparisons"]]
    assert pairs == [(a, b) for i, b in enumerate(FAMILY) for a in FAMILY[i + 1 :]]  # later less earlier
    assert set(report["comparisons"][0]) == {
        *("a", "b", "metric", "difference", "ci95", "p_value", "mcnemar_p", "wilcoxon_p", "p_holm")
    }


def test_the_summary_is_what_the_runs_say(done):
    plan, results, _ = done
    report = summarise(plan, results)
    for name, entry in report["systems"].items():
        runs = [r for r in results if r.system == name]
        for metric in METRICS:
            values = [compute_metrics(r.y_true, r.y_prob)[metric] for r in runs]
            assert [r[metric] for r in entry["runs"]] == values
            assert entry["metrics"][metric]["mean"] == pytest.approx(sum(values) / 2)
            assert entry["metrics"][metric]["std"] == pytest.approx(abs(values[0] - values[1]) / 2)
        counts = np.array(entry["confusion"])
        np.testing.assert_allclose(entry["recalls"], counts.diagonal() / counts.sum(axis=1))
        assert counts.sum() == 2 * 3 * 4  # seeds, test dialogues, turns
        assert np.trace(counts) / counts.sum() == pytest.approx(entry["metrics"]["wa"]["mean"])
        assert entry["classes"] == list(LABELS)


def test_systems_are_tested_on_the_same_utterances(done):
    _, results, _ = done
    truth = {i: int(y) for i, y in zip(results[0].ids, results[0].y_true, strict=True)}
    assert len(truth) == 12
    for r in results:
        assert {i: int(y) for i, y in zip(r.ids, r.y_true, strict=True)} == truth
        assert set(r.groups) == {"d2", "d5", "d8"}


def test_every_run_is_announced_once_and_its_state_is_removed(done):
    plan, results, events = done
    ends = [e for e in events if e.startswith("done ")]
    assert ends == [f"done {name}, fold test, seed {seed}" for seed in (0, 1) for name in FAMILY]
    assert "mman, fold test, seed 1: mman epoch 2" in events
    assert len(results) == len(ends)
    assert not any((plan.out / "state").glob("*"))


def no_training(*args: object, **keywords: object) -> None:
    raise AssertionError("trained again")


def test_a_second_run_trains_nothing(done, monkeypatch):
    plan, results, _ = done
    monkeypatch.setattr(run_module, "train_system", no_training)
    events: list[str] = []
    again = run_all(Session(plan), events.append)
    assert_same(again, results)
    assert [r.seconds for r in again] == [r.seconds for r in results]
    assert all(e.startswith("done ") for e in events)


def test_other_settings_or_another_selection_are_run_anew(done, monkeypatch):
    plan, _, _ = done
    monkeypatch.setattr(run_module, "train_system", no_training)
    longer = make_recipe(FAMILY, training={"max_epochs": 3, "batch_size": 4})
    for other in (replace(plan, recipe=longer), replace(plan, selection="test"), replace(plan, seeds=(2,))):
        with pytest.raises(AssertionError, match="trained again"):
            run_plan(other)
    # prose and the choice of systems change no result
    prose = Recipe.model_validate(make_recipe(["mman", "clstm-ef"]).model_dump() | {"expected": "much"})
    assert {r.system for r in run_plan(replace(plan, recipe=prose))} == {"mman", "clstm-ef"}


def test_a_lost_record_is_made_again_with_the_same_numbers(done, tmp_path):
    plan, results, _ = done
    copy = replace(plan, out=tmp_path / "out")
    shutil.copytree(plan.out, copy.out)
    for name, seed in (("mman", 0), ("clstm-speech", 1)):
        shutil.rmtree(copy.run_folder(name, "test", seed))
    (copy.run_folder("clstm-lf", "test", 1) / "run.json").unlink()  # killed before the last write
    assert_same(run_plan(copy), results)


def test_two_processes_give_the_same_numbers(done, tmp_path):
    """Most records are on disk, as the first training in a fresh process takes seconds."""
    plan, results, _ = done
    two = replace(plan, out=tmp_path / "out", jobs=2)
    shutil.copytree(plan.out, two.out)
    shutil.rmtree(two.run_folder("clstm-mma", "test", 1))
    events: list[str] = []
    found = run_all(Session(two), events.append)
    assert_same(found, results)
    assert numbers(two, found) == numbers(plan, results)
    assert [e for e in events if " epoch " in e] == [
        f"clstm-mma, fold test, seed 1: clstm-mma epoch {epoch}" for epoch in (1, 2)
    ]
    assert sum(e.startswith("done ") for e in events) == 2 * len(FAMILY)


def test_the_parts_of_mman_are_the_systems_of_their_own(done):
    plan, results, _ = done
    session = Session(plan)
    run = session.fold_run(0, 1)
    mman = run.train("mman").model
    for name in PARTS:
        alone = session.fold_run(0, 1)
        trained = alone.train(name)
        for key, value in trained.model.state_dict().items():
            assert torch.equal(mman.parts[name].state_dict()[key], value), key
        for recorded in (r for r in results if (r.system, r.seed) == (name, 1)):
            np.testing.assert_array_equal(alone.test(name, trained).y_prob, recorded.y_prob)


class TestEstimate:
    def test_is_positive_and_leaves_no_trace(self, done, tmp_path):
        plan, _, _ = done
        session = Session(replace(plan, out=tmp_path / "out"))
        assert session.estimate_s() > 0
        assert not (tmp_path / "out").exists()

    def test_is_an_upper_bound_with_the_parts_of_a_staged_system(self, done, monkeypatch):
        plan, _, _ = done
        # a clock that each call moves on by a second: one second a batch
        seconds = iter(range(10**6))
        monkeypatch.setattr(benchmark_module.time, "perf_counter", lambda: float(next(seconds)))
        one, alone = (
            Session(replace(plan, recipe=make_recipe(systems))).estimate_s() for systems in (["clstm-ef"], ["mman"])
        )
        # 5 training dialogues in batches of 4, 2 epochs, 2 seeds; a second to fit the features, 2 seeds
        assert one == 2 * 2 * 2 + 2
        assert alone == 2 * 2 * 2 * (1 + len(PARTS)) + 2
        # parts that the recipe trains anyway are not counted twice
        assert Session(replace(plan, recipe=make_recipe(["clstm-mma", "mman"]))).estimate_s() == alone
        assert Session(replace(plan, recipe=make_recipe(["mman"]), jobs=2)).estimate_s() == alone / 2


@pytest.mark.parametrize("shuffled", [False, True], ids=["true labels", "shuffled labels"])
def test_labels_are_learnt_where_they_show_and_only_there(tmp_path, shuffled):
    """With labels that the inputs do not show, every way of the test part into the training would score."""
    vectors = tmp_path / "vectors.txt"
    words = sorted({word for text in WORDS.values() for word in text.split()})
    rng = np.random.default_rng(1)
    vectors.write_text("".join(f"{w} {' '.join(f'{x:.4f}' for x in rng.normal(size=4))}\n" for w in words))
    text = {"kind": "text-cnn", "word_vectors": str(vectors), "max_epochs": 4}
    recipe = make_recipe(
        ["clstm-text", "clstm-mma"],
        features={"speech": {"kind": "stored"}, "text": text},
        model={"d_model": 16, "n_hidden": 16, "n_dense": 16},
        training={"max_epochs": 10, "batch_size": 4, "learning_rate": 0.01},
    )
    data = write_corpus(tmp_path, 24, 8, shuffle_labels=shuffled)
    plan = Plan(recipe, data, tmp_path / "out", (0,), device="cpu")
    scores = {r.system: r.metrics["ua"] for r in run_plan(plan)}
    if shuffled:
        assert all(0.1 < score < 0.4 for score in scores.values()), scores  # 64 test utterances: sd 0.054
    else:
        assert all(score > 0.9 for score in scores.values()), scores
