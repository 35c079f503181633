from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from sklearn.svm import LinearSVC

from emofuse.checkpoint import load_checkpoint, save_checkpoint
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import DataError
from emofuse.example import IGNORE, Example
from emofuse.media.segment import Segment
from emofuse.models.linear import LinearClassifier, LinearConfig
from emofuse.predictor import part as part_module
from emofuse.protocol.benchmark import Plan, Session, run_all
from emofuse.protocol.linear import C_GRID, fit_linear
from emofuse.protocol.recipe import Recipe
from emofuse.protocol.run import FoldRun, Inputs
from emofuse.protocol.splits import make_folds
from emofuse.protocol.summary import summarise

LABELS = ("angry", "happy", "neutral", "sad")
RATE = 16_000


def examples(n: int = 60, dim: int = 6, n_classes: int = 3, seed: int = 0) -> list[Example]:
    """The class shows in one value each."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, dim)).astype(np.float32)
    y = np.arange(n) % n_classes
    X[np.arange(n), y] += 2
    return [Example((f"u{i}",), y[i : i + 1], {"speech": x}) for i, x in enumerate(X)]


def matrix(given: list[Example]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([e.inputs["speech"] for e in given]), np.concatenate([e.labels for e in given])


def logits(model: LinearClassifier, X: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(X), torch.full((len(X),), X.shape[1])).numpy()


def test_the_layer_gives_the_decision_function_of_the_support_vector_machine() -> None:
    train = examples()
    model = LinearClassifier(LinearConfig(3, 6))
    best, history = fit_linear(model, train, None, balanced=True, metric="ua", seed=5, n_epochs=3)
    X, y = matrix(train)
    svm = LinearSVC(C=1e-3, class_weight="balanced", dual=False, random_state=5, max_iter=5000).fit(X, y)
    np.testing.assert_allclose(logits(model, X), svm.decision_function(X), rtol=1e-4, atol=1e-5)
    margins = svm.decision_function(X) * np.where(y[:, None] == np.arange(3), 1, -1)
    assert history == [{"epoch": 3, "loss": pytest.approx(np.mean(np.maximum(0, 1 - margins) ** 2)), "C": 1e-3}]
    assert best == 3


def test_two_classes_and_rows_without_a_label() -> None:
    train = examples(n_classes=2)
    X, y = matrix(train)
    unlabelled = [Example(("x",), np.array([IGNORE]), {"speech": np.full(6, 99.0, np.float32)})]
    model = LinearClassifier(LinearConfig(2, 6))
    fit_linear(model, [*train, *unlabelled], None, balanced=False, metric="ua", seed=0)
    svm = LinearSVC(C=C_GRID[-1], dual=False, random_state=0, max_iter=5000).fit(X, y)
    found = logits(model, X)
    np.testing.assert_allclose(found[:, 1], svm.decision_function(X), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[:, 0], -found[:, 1], atol=1e-6)


def test_a_class_that_is_not_in_train_is_never_predicted() -> None:
    model = LinearClassifier(LinearConfig(5, 6))
    train = [e for e in examples() if e.labels[0] != 1]
    fit_linear(model, train, None, balanced=True, metric="ua", seed=0)
    assert set(logits(model, matrix(examples())[0]).argmax(1)) <= {0, 2}
    with pytest.raises(DataError, match="1 class in the training part"):
        fit_linear(model, train[::2][:1], None, balanced=True, metric="ua", seed=0)


def test_the_best_c_on_dev_is_kept_and_of_equals_the_smallest() -> None:
    scores = iter([0.2, 0.7, 0.7, 0.6, 0.1])
    weights = []

    def score() -> dict[str, float]:
        weights.append(model.output.weight.detach().clone())
        return {"ua": next(scores), "wa": 0.0}

    model = LinearClassifier(LinearConfig(3, 6))
    best, history = fit_linear(model, examples(), score, balanced=True, metric="ua", seed=0)
    assert best == 2
    assert [(e["epoch"], e["C"], e["ua"]) for e in history] == [
        (k + 1, c, u) for k, (c, u) in enumerate(zip(C_GRID, [0.2, 0.7, 0.7, 0.6, 0.1], strict=True))
    ]
    torch.testing.assert_close(model.output.weight.detach(), weights[1], rtol=0, atol=0)


def spoken_corpus(folder: Path) -> Corpus:
    """Tones whose pitch is the label, by six speakers."""
    rng, utterances = np.random.default_rng(0), []
    for i in range(36):
        path = folder / f"{i}.wav"
        t = np.arange(RATE // 2) / RATE
        tone = 0.3 * np.sin(2 * np.pi * (200 + 300 * (i % 4)) * t) + 0.02 * rng.standard_normal(len(t))
        sf.write(path, tone.astype(np.float32), RATE)
        split = ("train", "train", "train", "dev", "test", "test")[i // 4 % 6]
        utterances.append(Utterance(f"u{i}", "manifest", LABELS[i % 4], audio=path, speaker=f"s{i // 4}", split=split))
    return Corpus("manifest", tuple(utterances))


def recipe(systems: list[str], features: dict, **settings: object) -> Recipe:
    head = {k: "" for k in ("paper", "command", "expected")} | {"name": "small", "corpus": "manifest"}
    head |= {"protocol": "split", "labels": "emotions4", "systems": systems, "features": features}
    return Recipe.model_validate(head | settings)


ROWS = {"speech": {"kind": "extract", "extractor": "log-mel", "pooling": "none"}}
SMALL = {"filters": (4, 4, 4), "d_model": 4, "n_heads": 2, "n_blocks": 1}


def test_a_system_takes_its_own_feature_and_a_linear_one_the_statistics_of_the_rows_of_others() -> None:
    chosen = recipe(["cma-speech-spectrogram", "linear-svm", "opensmile-svm"], ROWS)
    assert chosen.feature_configs("cma-speech-spectrogram")["speech"].pooling == "none"
    assert chosen.feature_configs("linear-svm")["speech"].pooling == "statistics"
    own = chosen.feature_configs("opensmile-svm")
    assert list(own) == ["speech"]
    assert own["speech"].extractor == "is13"
    assert recipe(["opensmile-svm"], {"text": {"kind": "words"}}).feature_configs("opensmile-svm") == own
    with pytest.raises(ValueError, match="linear-svm takes one vector an utterance"):
        recipe(["linear-svm"], {"speech": {"kind": "waveform"}})


def test_benchmark_compares_it_with_a_network_in_one_run(tmp_path: Path) -> None:
    settings = {"max_epochs": 1, "batch_size": 8, "crop_s": 0.2, "augment": 0.5, "class_weights": True, "refit": True}
    both = recipe(["cma-speech-spectrogram", "linear-svm"], ROWS, model=SMALL, training=settings)
    plan = Plan(both, tmp_path, tmp_path / "out", (0,), device="cpu", features=tmp_path / "features")
    session = Session(plan, spoken_corpus(tmp_path))
    assert session.estimate_s() > 0
    report = summarise(plan, run_all(session, lambda event: None))
    assert report["systems"]["linear-svm"]["metrics"]["ua"]["mean"] == 1
    assert report["systems"]["linear-svm"]["n_parameters"] == 4 * (2 * 80 + 1)
    assert {report["comparisons"][0][k] for k in "ab"} == {"cma-speech-spectrogram", "linear-svm"}


def test_a_checkpoint_predicts_what_the_run_predicted(tmp_path: Path) -> None:
    corpus = spoken_corpus(tmp_path)
    (fold,) = make_folds(corpus, "split", "emotions4", 0)
    run = FoldRun(Inputs(recipe(["linear-svm"], ROWS), corpus, corpus.utterances), fold, 0)
    done = run.train("linear-svm")
    result = run.test("linear-svm", done)
    save_checkpoint(tmp_path / "model", run.checkpoint("linear-svm", done, result))
    loaded = load_checkpoint(tmp_path / "model")
    ready = part_module.Part(loaded.trained(), "model")
    for i, expected in zip(result.ids, result.y_prob, strict=True):
        samples, _ = sf.read(next(u.audio for u in corpus.utterances if u.id == i), dtype="float32")
        (judged,) = ready.judge([part_module.Utterance(Segment(0.0, 0.5), samples)])
        assert judged is not None
        assert judged.probabilities.argmax() == expected.argmax()
        logit = np.log(expected) / loaded.temperature
        np.testing.assert_allclose(judged.probabilities, np.exp(logit) / np.exp(logit).sum(), atol=1e-4)
