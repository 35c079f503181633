import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emofuse.protocol import run as run_module
from emofuse.protocol.benchmark import Plan, Session, run_all
from emofuse.protocol.record import RunResult
from emofuse.protocol.report import write_report
from emofuse.protocol.subsets import subsets_figure, summarise_subsets
from emofuse.protocol.summary import summarise

LABELS = ("angry", "happy", "neutral", "sad")
SYSTEMS = ["clstm-text", "clstm-ef", "mman"]
KEPT = ["speech+visual", "speech+text", "visual+text", "speech", "visual", "text"]


def write_corpus(folder: Path) -> Path:
    """24 dialogues of four turns, every third one test; the label shows in the words alone."""
    rng = np.random.default_rng(0)
    rows = ["id,label,dialogue,split,speech_features,visual_features,text_features"]
    for d in range(24):
        for i in range(4):
            y = int(rng.integers(4))
            files = []
            for modality in ("speech", "visual", "text"):
                x = rng.normal(size=4).astype(np.float32)
                x[y] += 4 * (modality == "text")
                files.append(f"{modality}-{d}-{i}.npy")
                np.save(folder / files[-1], x)
            rows.append(f"{d}-{i},{LABELS[y]},d{d},{'test' if d % 3 == 2 else 'train'},{','.join(files)}")
    (folder / "corpus.csv").write_text("\n".join(rows))
    return folder / "corpus.csv"


@pytest.fixture(scope="module")
def done(tmp_path_factory, small_recipe) -> tuple[Plan, list[RunResult]]:
    folder = tmp_path_factory.mktemp("subsets")
    recipe = small_recipe(
        systems=SYSTEMS,
        features={m: {"kind": "stored"} for m in ("speech", "visual", "text")},
        model={"d_model": 8, "n_hidden": 16, "n_dense": 16},
        training={"max_epochs": 12, "batch_size": 4, "learning_rate": 0.02, "modality_dropout": 0.3},
    )
    plan = Plan(recipe, write_corpus(folder), folder / "out", (0, 1), device="cpu", subsets=True)
    return plan, run_all(Session(plan), lambda _: None)


def test_every_proper_subset_of_a_fused_system_has_a_record(done) -> None:
    plan, results = done
    assert len(results) == 2 * len(SYSTEMS)
    for name in ("clstm-ef", "mman"):
        folders = plan.subset_folders(name, "test", 1)
        assert ["+".join(kept) for kept in folders] == KEPT
        records = [RunResult.load(folder, plan.fingerprint) for folder in folders.values()]
        assert all(r is not None and r.ids == results[0].ids for r in records)
    assert plan.subset_folders("clstm-text", "test", 1) == {}
    assert replace(plan, subsets=False).subset_folders("mman", "test", 1) == {}


def test_the_summary_is_what_the_records_say(done) -> None:
    plan, results = done
    subsets = summarise_subsets(plan, results)["subsets"]
    assert list(subsets) == ["clstm-ef", "mman"]
    complete = summarise(plan, results)["systems"]
    for name, entries in subsets.items():
        assert list(entries) == ["speech+visual+text", *KEPT]
        assert entries["speech+visual+text"]["ua"]["mean"] == complete[name]["metrics"]["ua"]["mean"]
        assert entries["speech+visual+text"]["change"]["difference"] == 0
        for kept in KEPT:
            folders = [plan.subset_folders(name, "test", seed)[tuple(kept.split("+"))] for seed in (0, 1)]
            records = [RunResult.load(folder, plan.fingerprint) for folder in folders]
            values = [r.metrics["ua"] for r in records if r is not None]
            assert entries[kept]["ua"]["mean"] == pytest.approx(np.mean(values))
            low, high = entries[kept]["ua"]["ci95"]
            assert low <= high
        # the words carry it all
        assert entries["text"]["ua"]["mean"] > entries["speech+visual"]["ua"]["mean"] + 0.2
        assert entries["speech+visual"]["change"]["difference"] < 0


def test_nothing_is_summarised_unless_asked_for(done) -> None:
    plan, results = done
    assert summarise_subsets(replace(plan, subsets=False), results) == {}


def no_training(*args: object, **keywords: object) -> None:
    raise AssertionError("trained again")


def test_what_is_on_disk_is_not_repeated_and_what_is_lost_is_made_again(done, tmp_path, monkeypatch) -> None:
    plan, results = done
    copy = replace(plan, out=tmp_path / "out")
    shutil.copytree(plan.out, copy.out)
    lost = copy.subset_folders("clstm-ef", "test", 0)["visual", "text"]
    shutil.rmtree(lost)
    run_all(Session(copy), lambda _: None)
    found = RunResult.load(lost, plan.fingerprint)
    expected = RunResult.load(plan.subset_folders("clstm-ef", "test", 0)["visual", "text"], plan.fingerprint)
    assert found is not None
    assert expected is not None
    np.testing.assert_array_equal(found.y_prob, expected.y_prob)
    monkeypatch.setattr(run_module, "train_system", no_training)
    assert len(run_all(Session(copy), lambda _: None)) == len(results)


def test_the_report_has_a_table_and_a_figure(done, tmp_path) -> None:
    plan, results = done
    report = summarise(plan, results) | summarise_subsets(plan, results)
    write_report(tmp_path, report, results, plan.recipe)
    assert (tmp_path / "subsets.png").stat().st_size > 5000
    text = (tmp_path / "report.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.split("## When modalities are removed")[1].splitlines()]
    entry = report["subsets"]["mman"]["visual+text"]
    (row,) = (r for r in rows if r[:2] == ["mman", "visual+text"])
    low, high = (100 * x for x in entry["ua"]["ci95"])
    assert row[2] == f"{100 * entry['ua']['mean']:.2f} ± {100 * entry['ua']['std']:.2f} [{low:.2f}, {high:.2f}]"
    assert row[4].startswith(f"{100 * entry['change']['difference']:+.2f} [")
    (full,) = (r for r in rows if r[:2] == ["mman", "speech+visual+text"])
    assert full[4] == "–"
    assert json.loads((tmp_path / "report.json").read_text())["subsets"]["mman"]["text"]["ua"] == json.loads(
        json.dumps(report["subsets"]["mman"]["text"]["ua"])
    )


def test_a_figure_of_two_trainings_has_a_panel_a_system_and_a_colour_a_training(done) -> None:
    plan, results = done
    report = summarise(plan, results) | summarise_subsets(plan, results)
    figure = subsets_figure({"without": report, "with": report}, "ua", "UA, %", "t")
    assert [ax.get_title() for ax in figure.axes] == ["clstm-ef", "mman"]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["speech+visual+text", *KEPT]
    ax = figure.axes[1]
    expected = [100 * report["subsets"]["mman"][k]["ua"]["mean"] for k in ("speech+visual+text", *KEPT)]
    for line in ax.lines:
        np.testing.assert_allclose(line.get_xdata(), expected)
    assert len({line.get_color() for line in ax.lines}) == 2
