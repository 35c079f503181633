"""Refit: dev chooses the number of epochs, then train and dev train together; the test part stays out."""

from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.example import Example
from emofuse.models import make_config
from emofuse.protocol.recipe import Recipe
from emofuse.protocol.run import FoldRun, Inputs
from emofuse.protocol.settings import TrainingConfig
from emofuse.protocol.splits import make_folds
from emofuse.protocol.stages import train_system
from emofuse.protocol.train import fit

SIZES = {"d_model": 4, "n_hidden": 4, "n_dense": 4}


def corpus() -> Corpus:
    rng = np.random.default_rng(0)
    utterances, rows = [], []
    for d in range(10):
        for i in range(3):
            label = ("negative", "positive")[(d + i) % 2]
            split = "test" if d >= 8 else "train"
            features = {"speech": len(rows), "text": len(rows)}
            utterances.append(
                Utterance(f"{d}-{i}", "manifest", label, dialogue=f"d{d}", index=i, split=split, features=features)
            )
            rows.append(rng.normal(size=3) + (d + i) % 2)
    array = np.array(rows, np.float32)
    return Corpus("manifest", tuple(utterances), {"speech": array, "text": array.copy()})


def recipe(**training: object) -> Recipe:
    feature = {"kind": "stored"}
    return Recipe.model_validate(
        {
            "name": "r",
            "paper": "p",
            "command": "c",
            "expected": "e",
            "corpus": "manifest",
            "protocol": "mosi2",
            "systems": ["clstm-speech", "mman"],
            "features": {"speech": feature, "text": feature},
            "model": SIZES,
            "training": {"max_epochs": 4, **training},
        }
    )


def fold_run(refit: bool, selection: str = "dev") -> FoldRun:
    data = corpus()
    chosen = recipe(refit=refit)
    (fold,) = make_folds(data, "mosi2", None, 0)
    return FoldRun(Inputs(chosen, data, data.utterances), fold, 0, selection)


def test_fit_without_selection_runs_to_the_last_epoch() -> None:
    torch.manual_seed(0)
    config = make_config("clstm-speech", feature_dims={"speech": 3}, n_classes=2, **SIZES)
    examples = [Example(("a", "b"), np.array([0, 1]), {"speech": np.eye(2, 3, dtype=np.float32)})]
    done = train_system(
        "clstm-speech", config, lambda _: TrainingConfig(max_epochs=7, patience=1), examples, None,
        metric="wa", seed=0, device=torch.device("cpu"),
    )  # fmt: skip
    assert done.result.best_epoch == len(done.result.history) == 7


def test_refit_trains_on_train_and_dev_for_the_epochs_that_dev_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, bool, int]] = []

    def spy(model, train, select, *, config, **more):  # type: ignore[no-untyped-def]
        result = fit(model, train, select, config=config, **more)
        seen.append((sum(len(e.ids) for e in train), select is None, config.max_epochs))
        return result

    monkeypatch.setattr("emofuse.protocol.stages.fit", spy)
    run = fold_run(refit=True)
    done = run.train("mman")
    n_train, n_dev = len(run.fold.train), len(run.fold.dev)
    assert [(n, last) for n, last, _ in seen] == [(n_train, False)] * 4 + [(n_train + n_dev, True)] * 4
    parts = ["clstm-mma", "clstm-speech", "clstm-text", "mman"]
    assert [epochs for _, last, epochs in seen if last] == [run.trained[p].result.best_epoch for p in parts]
    assert done.result is run.trained["mman"].result
    assert done.model is not run.trained["mman"].model


def test_refit_changes_nothing_when_test_selects() -> None:
    with_refit, without = fold_run(True, "test"), fold_run(False, "test")
    a, b = with_refit.train("clstm-speech").model, without.train("clstm-speech").model
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_temperature_comes_from_the_system_that_did_not_see_dev() -> None:
    run = fold_run(refit=True)
    done = run.train("clstm-speech")
    checkpoint = run.checkpoint("clstm-speech", done, run.test("clstm-speech", done))
    assert checkpoint.temperature == run.temperature("clstm-speech", run.trained["clstm-speech"])
    assert checkpoint.model is done.model


def test_a_killed_refit_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emofuse.protocol.train.SAVE_EVERY_S", 0.0)
    whole = fold_run(refit=True).train("mman").model
    calls = 0

    def stop(part: str, entry: dict[str, float]) -> None:
        nonlocal calls
        calls += 1
        if calls == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fold_run(refit=True).train("mman", tmp_path, stop)
    resumed = fold_run(refit=True).train("mman", tmp_path).model
    for x, y in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(x, y)
