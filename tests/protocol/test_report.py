import json
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pyarrow.parquet as pq
import pytest

from emofuse.protocol.benchmark import Plan
from emofuse.protocol.figures import confusion_figure, curves_figure
from emofuse.protocol.recipe import Recipe
from emofuse.protocol.record import RunResult
from emofuse.protocol.report import markdown, predictions_table, write_report
from emofuse.protocol.summary import summarise

FOUR = ("happy", "sad", "neutral", "angry")


def make_run(
    system: str,
    fold: str = "Ses05",
    seed: int = 0,
    classes: tuple[str, ...] = FOUR,
    skill: float = 2.0,
    y_true: np.ndarray | None = None,
) -> RunResult:
    rng = np.random.default_rng([seed, len(fold), len(system)])
    y_true = rng.integers(0, len(classes), 60) if y_true is None else y_true
    logits = rng.normal(size=(len(y_true), len(classes))) + skill * np.eye(len(classes))[y_true]
    y_prob = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    history = [{"epoch": e, "loss": 1 / e, "wa": 0.5 + 0.01 * e, "ua": 0.5, "f1_weighted": 0.5} for e in range(1, 6)]
    ids = tuple(f"{fold}-{i:03d}" for i in range(len(y_true)))
    groups = tuple(f"{fold}-dialogue{i // 10}" for i in range(len(y_true)))
    return RunResult(system, fold, seed, classes, 1_274_504, 2.5, 3, history, ids, groups, y_true, y_prob)


def make_recipe(protocol: str = "iemocap4-s5", **more: Any) -> Recipe:
    content = {
        "name": "small",
        "paper": "Pan et al. 2020, Table 2",
        "command": "emofuse benchmark small.toml",
        "expected": "WA above 70",
        "corpus": "iemocap-table",
        "protocol": protocol,
        "systems": ["clstm-ef", "mman"],
        "features": {m: {"kind": "stored"} for m in ("speech", "visual", "text")},
    }
    return Recipe.model_validate(content | more)


def summary(recipe: Recipe, results: list[RunResult], selection: str = "dev") -> dict[str, Any]:
    seeds = tuple(sorted({r.seed for r in results}))
    return summarise(Plan(recipe, Path("data"), Path("out"), seeds, selection), results)


def same_truth(systems: tuple[str, ...], folds: tuple[str, ...], seeds: int) -> list[RunResult]:
    y_true = np.arange(60) % 4
    return [make_run(s, f, k, y_true=y_true) for k in range(seeds) for f in folds for s in systems]


def row_of(text: str, *starts: str) -> list[str]:
    lines = [[c.strip() for c in line.strip("| ").split("|")] for line in text.splitlines() if line.startswith("|")]
    return next(cells for cells in lines if tuple(cells[: len(starts)]) == starts)


@pytest.fixture(scope="module")
def two_systems() -> list[RunResult]:
    return same_truth(("clstm-ef", "mman"), ("Ses05",), seeds=3)


class TestWriteReport:
    def test_writes_every_file_and_leaves_nothing_temporary(self, tmp_path: Path, two_systems: list[RunResult]) -> None:
        recipe = make_recipe()
        report = summary(recipe, two_systems)
        out = tmp_path / "new" / "folder"
        write_report(out, report, two_systems, recipe)
        figures = {f"{kind}-{s}.png" for kind in ("confusion", "curves") for s in recipe.systems}
        assert {p.name for p in out.iterdir()} == {"report.json", "report.md", "predictions.parquet"} | figures
        assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(report))
        for name in figures:
            pixels = matplotlib.image.imread(out / name)
            assert min(pixels.shape[:2]) > 200
            assert f"({name})" in (out / "report.md").read_text(encoding="utf-8")

    def test_a_second_report_replaces_the_first(self, tmp_path: Path, two_systems: list[RunResult]) -> None:
        recipe = make_recipe()
        for selection in ("dev", "test"):
            write_report(tmp_path, summary(recipe, two_systems, selection), two_systems, recipe)
        assert json.loads((tmp_path / "report.json").read_text())["selection"] == "test"


class TestMarkdown:
    def test_systems_table_holds_mean_deviation_interval_and_the_papers_figure(self) -> None:
        results = same_truth(("clstm-ef", "mman"), ("Ses05",), seeds=3)
        recipe = make_recipe(published={"mman": 0.7394})
        report = summary(recipe, results)
        text = markdown(report, results, recipe)
        wa = report["systems"]["mman"]["metrics"]["wa"]
        low, high = wa["ci95"]
        row = row_of(text, "mman", "1,274,504")
        assert row[2] == f"{100 * wa['mean']:.2f} ± {100 * wa['std']:.2f} [{100 * low:.2f}, {100 * high:.2f}]"
        assert row[-2:] == ["8", "73.94"]  # 3 runs of 2.5 s
        assert row_of(text, "clstm-ef", "1,274,504")[-1] == "–"
        # 15 of 60 test utterances are of each class: a constant answer has WA and UA 1/4.
        assert row_of(text, "*always the most frequent class*")[2:4] == ["25.00", "25.00"]
        assert row_of(text, "mman − clstm-ef")[1].startswith(f"{100 * report['comparisons'][0]['difference']:+.2f} [")
        for fact in (recipe.paper, recipe.command, recipe.expected, "`iemocap4-s5`", "Seeds: 0, 1, 2"):
            assert fact in text

    def test_seeds_averaged_have_a_table_where_there_are_several(self) -> None:
        results = same_truth(("clstm-ef", "mman"), ("Ses05",), seeds=3)
        recipe = make_recipe()
        report = summary(recipe, results)
        text = markdown(report, results, recipe)
        wa = report["averaged"]["mman"]["wa"]
        assert row_of(text, "mman (3 seeds averaged)")[1].startswith(f"{100 * wa['mean']:.2f} [")
        y_prob = np.mean([r.y_prob for r in results if r.system == "mman"], axis=0)
        assert wa["mean"] == pytest.approx(np.mean(y_prob.argmax(1) == results[0].y_true))
        once = [r for r in results if r.seed == 0]
        assert "averaged" not in markdown(summary(recipe, once), once, recipe)

    def test_no_deviation_of_a_single_run_and_no_published_column_without_figures(self) -> None:
        results = [make_run("mman")]
        recipe = make_recipe(systems=["mman"])
        text = markdown(summary(recipe, results), results, recipe)
        assert "±" not in row_of(text, "mman", "1,274,504")[2]
        assert "published" not in text
        assert "Paired comparisons" not in text
        assert "## Folds" not in text

    @pytest.mark.parametrize(("selection", "said"), [("dev", False), ("test", True)])
    def test_title_and_column_say_when_the_test_part_selected(
        self, two_systems: list[RunResult], selection: str, said: bool
    ) -> None:
        recipe = make_recipe()
        text = markdown(summary(recipe, two_systems, selection), two_systems, recipe)
        assert ("(selected on test)" in text.splitlines()[0]) == said
        assert (row_of(text, "system", "parameters")[2] == "WA % (selected on test)") == said

    def test_a_column_a_fold_with_means_over_seeds(self) -> None:
        results = same_truth(("clstm-ef", "mman"), ("Ses01", "Ses02"), seeds=2)
        recipe = make_recipe("iemocap4-loso")
        text = markdown(summary(recipe, results), results, recipe)
        assert row_of(text, "system", "metric")[2:] == ["Ses01", "Ses02"]
        values = [100 * r.metrics["ua"] for r in results if r.system == "mman" and r.fold == "Ses02"]
        assert row_of(text, "mman", "UA")[3] == f"{np.mean(values):.2f} ± {np.std(values):.2f}"

    def test_tasks_of_one_emotion_have_its_f1_beside_the_majority(self) -> None:
        happy, sad = ("rest", "happy"), ("rest", "sad")
        y_true = np.array([0, 0, 0, 1] * 5)
        results = [
            make_run("mman", fold, classes=classes, y_true=y_true, skill=50)
            for fold, classes in (("happy", happy), ("sad", sad))
        ]
        # The first task: 2 of 5 found, 1 false alarm: WA 16/20, UA (14/15 + 2/5)/2, F1 4/8.
        predicted = np.zeros(20, int)
        predicted[[3, 7, 0]] = 1
        results[0].y_prob[:] = np.eye(2)[predicted]
        recipe = make_recipe("iemocap-binary-s5", systems=["mman"])
        text = markdown(summary(recipe, results), results, recipe)
        assert row_of(text, "mman", "WA")[2:] == ["80.00", "100.00"]
        assert row_of(text, "mman", "UA")[2:] == ["66.67", "100.00"]
        assert row_of(text, "mman", "F1 of the emotion")[2:] == ["50.00", "100.00"]
        majority = "*always the most frequent class*"
        assert row_of(text, majority, "WA")[2:] == ["75.00", "75.00"]
        assert row_of(text, majority, "F1 of the emotion")[2:] == ["0.00", "0.00"]


def test_predictions_keep_every_row_and_leave_absent_classes_null(tmp_path: Path) -> None:
    results = [make_run("mman", "happy", classes=("rest", "happy")), make_run("mman", "sad", 1, ("rest", "sad"))]
    pq.write_table(predictions_table(results), tmp_path / "p.parquet")
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert len(rows) == 120
    assert list(rows[0]) == [
        *("system", "fold", "seed", "id", "group", "label", "predicted"),
        *("p_rest", "p_happy", "p_sad"),
    ]
    for row in rows:
        absent = "p_sad" if row["fold"] == "happy" else "p_happy"
        assert row[absent] is None
        assert max((k for k in row if k[:2] == "p_"), key=lambda k: row[k] or 0) == f"p_{row['predicted']}"
    assert rows[0]["label"] == results[0].classes[results[0].y_true[0]]
    assert rows[60]["seed"] == 1


class TestFigures:
    def test_confusion_sums_runs_and_gives_shares_of_the_row(self) -> None:
        runs = same_truth(("mman",), ("Ses05",), seeds=2)
        ax = confusion_figure(runs, "t").axes[0]
        cells = [t.get_text().split("\n") for t in ax.texts]
        assert sum(int(count) for count, _ in cells) == 120
        first_row = [int(count) for count, _ in cells[:4]]
        assert cells[0][1] == f"{100 * first_row[0] / 30:.0f} %"
        assert [t.get_text() for t in ax.get_xticklabels()] == list(FOUR)

    def test_confusion_text_is_dark_on_light_and_light_on_dark(self) -> None:
        run = make_run("mman", classes=("negative", "positive"), skill=50)
        colours = {t.get_text().split("\n")[1]: t.get_color() for t in confusion_figure([run], "t").axes[0].texts}
        assert colours == {"100 %": "white", "0 %": "black"}

    def test_confusion_has_a_panel_a_task(self) -> None:
        runs = [make_run("mman", "happy", classes=("rest", "happy")), make_run("mman", "sad", classes=("rest", "sad"))]
        axes = confusion_figure(runs, "t").axes
        assert [ax.get_title() for ax in axes] == ["happy, 1 run", "sad, 1 run"]

    def test_curves_draw_a_line_a_run_and_mark_the_chosen_epoch(self) -> None:
        runs = same_truth(("mman",), ("Ses01", "Ses02"), seeds=2)
        _, bottom = curves_figure(runs, "wa", "test", "t", window=2).axes
        assert bottom.get_ylabel() == "WA on test, %, mean of 2 epochs"
        lines = [line for line in bottom.lines if len(np.asarray(line.get_xdata())) > 1]
        assert len(lines) == 4
        np.testing.assert_allclose(lines[0].get_ydata(), [51, 51.5, 52.5, 53.5, 54.5])
        dot = bottom.lines[1]
        np.testing.assert_allclose([dot.get_xdata(), dot.get_ydata()], [[3], [52.5]])
