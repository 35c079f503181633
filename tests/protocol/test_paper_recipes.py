"""The two recipes whose corpora are not to be had, end to end on miniature replicas of these."""

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from emofuse.corpora.bclstm_pickle import FIELDS
from emofuse.protocol import report as report_module
from emofuse.protocol.benchmark import Plan, Session, run_all
from emofuse.protocol.recipe import load_recipe
from emofuse.protocol.report import write_report
from emofuse.protocol.summary import summarise

RECIPES = Path(__file__).parents[2] / "recipes"
SESSIONS = range(1, 6)
TONES = {"ang": 800, "hap": 600, "exc": 650, "sad": 200, "neu": 400, "fru": 700, "xxx": 300}
WORDS = ("what", "a", "made", "up", "day")


@pytest.fixture(autouse=True)
def quick_figures(monkeypatch) -> None:
    """Figures are built but not drawn, which takes longer than all else here; test_report draws them."""
    monkeypatch.setattr(report_module.Figure, "savefig", lambda self, path, **settings: Path(path).touch())


def run(recipe_name: str, data: Path, out: Path, assignments: list[str]) -> dict:
    """One seed of every system of a recipe; the report as it was written."""
    recipe = load_recipe(RECIPES / f"{recipe_name}.toml", assignments)
    plan = Plan(recipe, data, out, (0,), device="cpu")
    session = Session(plan)
    assert session.estimate_s() > 0
    results = run_all(session, lambda event: None)
    write_report(out, summarise(plan, results), results, recipe)
    figures = {f"{kind}-{name}.png" for kind in ("confusion", "curves") for name in recipe.systems}
    files = {"report.json", "report.md", "predictions.parquet", "runs", "cost.png"} | figures
    assert {p.name for p in out.iterdir()} - {"state"} == files
    report = json.loads((out / "report.json").read_text())
    assert list(report["systems"]) == list(recipe.systems)
    assert report["recipe"] == recipe_name
    for entry in report["systems"].values():
        assert all(np.isfinite(m["mean"]) and 0 <= m["mean"] <= 1 for m in entry["metrics"].values())
    return report


def write_release(root: Path) -> None:
    """Five sessions of two dialogues of eight turns in the release's form, each turn 0.3 s of its label's tone."""
    t = np.arange(4800) / 16_000
    for session in SESSIONS:
        folder = root / f"Session{session}"
        for kind in ("impro01", "script01_1"):
            dialogue = f"Ses0{session}F_{kind}"
            labels, words = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""], []
            wavs = folder / "sentences" / "wav" / dialogue
            wavs.mkdir(parents=True)
            for i, code in enumerate([*TONES, "sad"]):
                turn = f"{dialogue}_{'FM'[i % 2]}{i:03}"
                labels.append(f"[{i}.0000 - {i}.3000]\t{turn}\t{code}\t[2.5000, 2.5000, 2.5000]")
                words.append(
                    f"{turn} [{i:08.4f}-{i:08.4f}]: {WORDS[i % 5].title()} {WORDS[(i + session) % 5]}, unheard!"
                )
                wave = 0.3 * np.sin(2 * np.pi * (TONES[code] + session) * t)
                sf.write(wavs / f"{turn}.wav", wave, 16_000)
            for name, lines in (("EmoEvaluation", labels), ("transcriptions", words)):
                (folder / "dialog" / name).mkdir(parents=True, exist_ok=True)
                (folder / "dialog" / name / f"{dialogue}.txt").write_text("\n".join(lines) + "\n")


def test_cma_on_the_full_release(tmp_path):
    write_release(tmp_path / "release")
    rng = np.random.default_rng(0)
    vectors = tmp_path / "glove.txt"
    vectors.write_text("".join(f"{w} {' '.join(f'{x:.3f}' for x in rng.normal(size=6))}\n" for w in (*WORDS, ",")))
    small = ["d_model=8", "n_heads=2", "n_blocks=1", "filters=[4, 4, 4]"]
    assignments = [f"features.text.word_vectors={vectors}", "training.max_epochs=1", *(f"model.{s}" for s in small)]
    report = run("cma-iemocap", tmp_path / "release", tmp_path / "out", assignments)
    assert list(report["systems"]) == ["cma-speech", "cma-text", "cma-spectrogram", "cma"]
    sizes = {name: entry["n_parameters"] for name, entry in report["systems"].items()}
    assert len(set(sizes.values())) == 4
    for entry in report["systems"].values():
        assert [r["fold"] for r in entry["runs"]] == [f"Ses0{s}" for s in SESSIONS]
        # of eight turns a dialogue, the frustrated and the disputed one are left out
        assert np.sum(entry["confusion"], axis=1).tolist() == [10, 20, 10, 20]
        assert entry["classes"] == ["angry", "happy", "neutral", "sad"]
    table = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    assert len(table) == 4 * 60
    assert all(row["id"].startswith(row["fold"]) for row in table)


def write_pickle(file: Path) -> None:
    """Three dialogues a session of six utterances, one of each label, in the nine fields."""
    rng = np.random.default_rng(0)
    made: dict = {name: {} for name in FIELDS[:7]} | {"trainVid": set(), "testVid": set()}
    for session in SESSIONS:
        for d in range(3):
            dialogue = f"Ses0{session}M_impro0{d}"
            made["videoIDs"][dialogue] = [f"{dialogue}_{'FM'[i % 2]}{i:03}" for i in range(6)]
            made["videoSpeakers"][dialogue] = list("FMFMFM")
            made["videoLabels"][dialogue] = rng.permutation(6).tolist()
            made["videoSentence"][dialogue] = ["Made up."] * 6
            for name, size in (("videoText", 100), ("videoAudio", 100), ("videoVisual", 512)):
                made[name][dialogue] = [rng.normal(size=size).astype(np.float32) for _ in range(6)]
            made["testVid" if session == 5 else "trainVid"].add(dialogue)
    file.write_bytes(pickle.dumps(tuple(made[name] for name in FIELDS), 2))


def test_mman_on_the_feature_pickle(tmp_path):
    write_pickle(tmp_path / "IEMOCAP_features.pkl")
    assignments = ["training.max_epochs=1", "model.d_model=8", "model.n_hidden=8", "model.n_dense=8"]
    report = run("mman-iemocap-full", tmp_path / "IEMOCAP_features.pkl", tmp_path / "out", assignments)
    assert list(report["systems"])[-1] == "mman"
    assert report["primary_metric"] == "wa"
    for entry in report["systems"].values():
        assert [(r["fold"], r["n_test"]) for r in entry["runs"]] == [("Ses05", 18)]
        # happy with excited, sad with frustrated
        assert np.sum(entry["confusion"], axis=1).tolist() == [6, 6, 3, 3]
        assert entry["classes"] == ["happy", "sad", "neutral", "angry"]
    assert "| mman |" in (tmp_path / "out" / "report.md").read_text()
