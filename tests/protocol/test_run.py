from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emofuse.checkpoint import load_checkpoint, save_checkpoint
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import ConfigError
from emofuse.models import system
from emofuse.protocol import run as run_module
from emofuse.protocol.examples import make_examples
from emofuse.protocol.fitted import feature_from_state
from emofuse.protocol.recipe import Recipe
from emofuse.protocol.run import FoldRun, Inputs, choose_device
from emofuse.protocol.scoring import predict_probabilities
from emofuse.protocol.splits import make_folds
from emofuse.protocol.stages import TrainedSystem

WORDS = {"angry": "rage so", "happy": "glad very glad", "neutral": "the calm", "sad": "tears of tears"}
SIZES = {
    "clstm-mma": {"d_model": 4, "n_hidden": 8, "n_dense": 6},
    "mman": {"d_model": 4, "n_hidden": 8, "n_dense": 6},
    "cma-text": {"d_model": 8, "n_heads": 2, "n_blocks": 1},
}


def small_corpus() -> Corpus:
    """Twelve dialogues of four utterances; the label shows in the speech features and in the words."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(48, 5)).astype(np.float32)
    utterances = []
    for d in range(12):
        for i, label in enumerate(rng.permutation(list(WORDS))):
            row = len(utterances)
            features[row, list(WORDS).index(label)] += 2
            u = Utterance(f"d{d}-{i}", "manifest", str(label), dialogue=f"d{d}", index=i, text=WORDS[str(label)])
            utterances.append(
                replace(u, split=("train", "dev", "test")[max(d % 4 - 1, 0)], speaker="a", features={"speech": row})
            )
    return Corpus("manifest", tuple(utterances), {"speech": features})


def make_run(name: str, folder: Path, corpus: Corpus | None = None, selection: str = "dev") -> FoldRun:
    corpus = corpus or small_corpus()
    file = folder / "vectors.txt"
    words = sorted({word for text in WORDS.values() for word in text.split()})
    vectors = np.random.default_rng(1).normal(size=(len(words), 3))
    lines = (f"{word} {' '.join(f'{x:.4f}' for x in row)}\n" for word, row in zip(words, vectors, strict=True))
    file.write_text("".join(lines))
    kind = "words" if name == "cma-text" else "text-cnn"
    features: dict[str, Any] = {"text": {"kind": kind, "word_vectors": str(file), "max_epochs": 2}}
    if name != "cma-text":
        features["speech"] = {"kind": "stored", "n_components": 3}
    recipe = Recipe.model_validate(
        {
            "name": "small",
            "paper": "",
            "command": "",
            "expected": "",
            "corpus": "manifest",
            "protocol": "split",
            "labels": "emotions4",
            "systems": [name],
            "features": features,
            "model": SIZES[name],
            "training": {"max_epochs": 3, "batch_size": 4},
        }
    )
    (fold,) = make_folds(corpus, "split", "emotions4", seed=0)
    return FoldRun(Inputs(recipe, corpus, corpus.utterances), fold, 3, selection)


class TestSelection:
    def test_dev_chooses_by_default(self, tmp_path: Path) -> None:
        run = make_run("clstm-mma", tmp_path)
        assert (run.train_ids, run.select_ids) == (run.fold.train, run.fold.dev)

    def test_with_test_dev_joins_train(self, tmp_path: Path) -> None:
        run = make_run("clstm-mma", tmp_path, selection="test")
        assert run.train_ids == run.fold.train + run.fold.dev
        assert run.select_ids == run.fold.test
        done = run.train("clstm-mma")
        # what the history says of the selection is what the test part gives
        assert done.result.history[done.result.best_epoch - 1].items() >= run.test("clstm-mma", done).metrics.items()

    def test_others_are_unknown(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="selection 'train'; known: dev, test"):
            make_run("clstm-mma", tmp_path, selection="train")


def spoilt_test_part(corpus: Corpus) -> Corpus:
    """Other features, words and labels in the test part."""
    features = corpus.features["speech"].copy()
    utterances = []
    for u in corpus.utterances:
        if u.split == "test":
            features[u.features["speech"]] *= -30
            u = replace(u, text="glad the", label="happy" if u.label == "sad" else "sad")
        utterances.append(u)
    return Corpus(corpus.name, tuple(utterances), {"speech": features})


@pytest.mark.parametrize("name", ["mman", "cma-text"])
def test_the_test_part_does_not_reach_the_training(tmp_path: Path, monkeypatch, name: str) -> None:
    seen: set[str] = set()
    original = run_module.train_system

    def spy(*args: Any, **keywords: Any) -> TrainedSystem:
        seen.update(i for examples in args[3:5] for e in examples for i in e.ids)
        return original(*args, **keywords)

    monkeypatch.setattr(run_module, "train_system", spy)
    runs = [make_run(name, tmp_path, corpus) for corpus in (small_corpus(), spoilt_test_part(small_corpus()))]
    (first, second) = (run.train(name) for run in runs)
    assert seen == {*runs[0].fold.train, *runs[0].fold.dev}
    assert first.result == second.result
    for key, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key]), key
    assert runs[0].temperature(name, first) == runs[1].temperature(name, second)
    metrics = [run.test(name, done).metrics for run, done in zip(runs, (first, second), strict=True)]
    assert metrics[0] != metrics[1]


@pytest.mark.parametrize("name", ["clstm-mma", "mman", "cma-text"])
def test_a_checkpoint_gives_the_test_probabilities(tmp_path: Path, name: str) -> None:
    run = make_run(name, tmp_path)
    done = run.train(name)
    tested = run.test(name, done)
    assert set(tested.ids) == set(run.fold.test)
    assert set(tested.groups) == {run.inputs.by_id[i].dialogue for i in run.fold.test}
    save_checkpoint(tmp_path / "model", run.checkpoint(name, done, tested))

    loaded = load_checkpoint(tmp_path / "model")
    assert (loaded.system, loaded.classes) == (name, tested.classes)
    arrays = {}
    for modality, meta in loaded.features.items():
        fitted = feature_from_state(meta, loaded.feature_arrays[modality])
        raw = run.inputs.raw(modality, fitted.config).arrays
        arrays[modality] = dict(zip(tested.ids, fitted.transform([raw[i] for i in tested.ids]), strict=True))
    level = system(name).level
    examples = make_examples(tested.ids, run.inputs.by_id, arrays, run.fold.classes, level)
    found = predict_probabilities(loaded.model, examples, level, torch.device("cpu"))
    np.testing.assert_allclose(np.stack([found[i] for i in tested.ids]), tested.y_prob, rtol=1e-3, atol=1e-4)

    assert np.isfinite(loaded.temperature)
    assert 0.2 <= loaded.temperature <= 10
    said = loaded.provenance
    assert (said["fold"], said["seed"], said["selection"]) == ("test", 3, "dev")
    assert said["best_epoch"] == tested.best_epoch
    assert said["test"] == pytest.approx(tested.metrics)
    assert Recipe.model_validate(said["recipe"]) == run.recipe
    assert said["training"]["max_epochs"] == 3


def test_raw_inputs_are_read_once(tmp_path: Path) -> None:
    inputs = make_run("clstm-mma", tmp_path).inputs
    config = inputs.recipe.features["speech"]
    assert inputs.raw("speech", config) is inputs.raw("speech", config)


class TestDevice:
    def test_auto_and_by_name(self) -> None:
        assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
        assert choose_device("cpu") == torch.device("cpu")

    @pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "mps:7"])
    def test_what_is_not_there_is_refused_in_one_line(self, name: str) -> None:
        with pytest.raises(ConfigError) as caught:
            choose_device(name)
        assert str(caught.value).startswith(f"device {name!r}: ")
        assert "\n" not in str(caught.value)
