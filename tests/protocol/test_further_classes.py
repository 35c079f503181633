"""Further emotions in training: of the training part's speakers, and of nobody's in what is told."""

from itertools import product

import numpy as np
import pytest

from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.protocol.benchmark import Plan, Session
from emofuse.protocol.run import FoldRun

LABELS = ("angry", "happy", "neutral", "sad", "fearful", "bored")


@pytest.fixture
def run(small_recipe, tmp_path):
    """A fold of nine speakers, each with two clips of six emotions; an emotion is a column of the features."""
    cases = list(product(range(9), LABELS, range(2)))
    utterances = tuple(
        Utterance(f"{s}-{label}-{i}", "manifest", label=label, speaker=f"s{s}", features={"speech": row})
        for row, (s, label, i) in enumerate(cases)
    )
    noise = np.random.default_rng(0).normal(scale=0.3, size=(len(cases), len(LABELS)))
    columns = noise + np.eye(len(LABELS))[[LABELS.index(label) for _, label, _ in cases]]
    recipe = small_recipe(
        protocol="speakers",
        training_labels="emotions7",
        systems=["speech-mlp"],
        features={"speech": {"kind": "stored"}},
        training={"max_epochs": 15, "patience": 0, "class_weights": True, "label_smoothing": 0.1, "refit": True},
    )
    corpus = Corpus("manifest", utterances, {"speech": columns.astype(np.float32)})
    return Session(Plan(recipe, tmp_path, tmp_path / "out", (0,)), corpus).fold_run(0, 0)


def test_they_come_from_the_speakers_of_the_part(run: FoldRun):
    def speakers(ids):
        return {i.split("-")[0] for i in ids}

    assert speakers(run.train_ids) == speakers(run.fold.train)
    assert not speakers(run.train_ids) & speakers(run.fold.dev + run.fold.test)
    emotions = {run.inputs.by_id[i].label for i in run.train_ids}
    assert emotions == set(LABELS)
    assert {run.inputs.by_id[i].label for i in run.fold.dev + run.fold.test} == {"angry", "happy", "neutral", "sad"}
    labels = {int(e.labels[0]) for e in run.examples("speech-mlp", run.train_ids)}
    assert labels == {0, 1, 2, 3, 4}  # bored ones are neutral; nobody is disgusted or surprised


def test_the_trained_system_tells_the_four_alone(run: FoldRun):
    done = run.train("speech-mlp")
    result = run.test("speech-mlp", done)
    assert result.y_prob.shape == (16, 4)
    assert result.metrics["ua"] > 0.8
    checkpoint = run.checkpoint("speech-mlp", done, result)
    assert checkpoint.classes == ("angry", "happy", "neutral", "sad")
    assert checkpoint.model_config.n_auxiliary == 0


def test_how_long_it_takes_can_be_told_before(run: FoldRun, tmp_path):
    session = Session(Plan(run.recipe, tmp_path, tmp_path / "out", (0,)), run.inputs.corpus)
    assert session.estimate_s() > 0
