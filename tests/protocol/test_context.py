import numpy as np
import pytest
import torch

from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import DataError
from emofuse.example import IGNORE
from emofuse.protocol.context import refuse_shared_dialogues, with_context
from emofuse.protocol.evaluate import evaluate
from emofuse.protocol.recipe import Recipe
from emofuse.protocol.run import FoldRun, Inputs
from emofuse.protocol.splits import Fold, make_folds

LABELS = ("happy", "frustrated", "sad", "angry", "neutral")


def sessions() -> Corpus:
    """Five sessions of four dialogues of five utterances, the second of each frustrated; the label shows."""
    rng = np.random.default_rng(0)
    utterances, rows = [], []
    for s in range(1, 6):
        for d in range(4):
            for i, label in enumerate(LABELS):
                dialogue, speaker = f"Ses0{s}F_impro0{d}", f"Ses0{s}{'FM'[i % 2]}"
                features = {"speech": len(rows)}
                rows.append(rng.normal(size=5) + 2 * np.eye(5)[i])
                utterances.append(
                    Utterance(
                        f"{dialogue}_{i}",
                        "iemocap-table",
                        label,
                        None,
                        dialogue,
                        i,
                        speaker,
                        f"Ses0{s}",
                        features=features,
                    )
                )
    return Corpus("iemocap-table", tuple(utterances), {"speech": np.array(rows, np.float32)})


def make_run(corpus: Corpus, other_labels: str = "context", relative: bool = False, **model) -> FoldRun:
    recipe = Recipe.model_validate(
        {
            "name": "small",
            "paper": "",
            "command": "",
            "expected": "",
            "corpus": "iemocap-table",
            "protocol": "iemocap4-loso",
            "other_labels": other_labels,
            "systems": ["clstm-speech"],
            "features": {"speech": {"kind": "stored", "relative": relative}},
            "model": {"n_hidden": 8, "n_dense": 6, "dropout": 0.0, **model},
            "training": {"max_epochs": 3, "batch_size": 4},
        }
    )
    return FoldRun(Inputs(recipe, corpus, corpus.utterances), make_folds(corpus, recipe.protocol, None, 0)[0], 0)


def test_context_is_the_rest_of_the_dialogues_in_order():
    corpus = sessions()
    assert with_context(["Ses01F_impro02_3", "Ses02F_impro00_0"], corpus.utterances) == (
        *(f"Ses01F_impro02_{i}" for i in range(5)),
        *(f"Ses02F_impro00_{i}" for i in range(5)),
    )
    alone = (Utterance("a", "x"), Utterance("b", "x"))
    assert with_context(["b"], alone) == ("b",)


def test_other_labels_are_dropped_by_default_and_seen_without_label_as_context():
    corpus = sessions()
    for other_labels, n in (("drop", 4), ("context", 5)):
        run = make_run(corpus, other_labels)
        for ids in (run.fold.train, run.fold.dev, run.fold.test):
            examples = run.examples("clstm-speech", ids)
            assert all(len(e.ids) == len(e.labels) == len(e.inputs["speech"]) == n for e in examples)
            labelled = [i for e in examples for i, y in zip(e.ids, e.labels, strict=True) if y != IGNORE]
            assert sorted(labelled) == sorted(ids)
            assert all([int(i[-1]) for i in e.ids] == sorted(int(i[-1]) for i in e.ids) for e in examples)


def test_the_label_of_a_context_utterance_never_matters():
    """Not even where the protocol knows it: the fold does not name the utterance."""
    corpus = sessions()
    run = make_run(corpus)
    unnamed = tuple(i for i in run.fold.train if not i.endswith("_2"))
    examples = run.examples("clstm-speech", unnamed)
    assert {len(e.ids) for e in examples} == {5}
    assert all(e.labels[2] == IGNORE == e.labels[1] for e in examples)


def test_what_is_said_between_changes_what_follows_and_not_what_was_before():
    corpus = sessions()
    run = make_run(corpus)
    done = run.train("clstm-speech")
    test = run.test("clstm-speech", done)
    features = corpus.features["speech"].copy()
    for u in corpus.utterances:
        if u.label == "frustrated" and u.session == "Ses01":
            features[u.features["speech"]] += 5
    other = make_run(Corpus(corpus.name, corpus.utterances, {"speech": features}))
    moved = other.test("clstm-speech", done)  # trained on other sessions: features are fitted alike
    assert moved.ids == test.ids
    assert len(test.ids) == 16
    same = np.array([np.array_equal(a, b) for a, b in zip(test.y_prob, moved.y_prob, strict=True)])
    np.testing.assert_array_equal(same, [i.endswith("_0") for i in test.ids])


def test_a_relative_feature_is_told_from_the_speakers_past_in_the_dialogue():
    run = make_run(sessions(), relative=True)
    (feature,) = run.features("clstm-speech").values()
    assert feature.dim == 10
    for e in run.examples("clstm-speech", run.fold.test):
        x, deviation = np.split(e.inputs["speech"], 2, axis=1)
        # speakers are F, M, F, M, F
        np.testing.assert_allclose(deviation[1], x[1] * 2 / 3, rtol=1e-5)
        np.testing.assert_allclose(deviation[4], x[4] - (x[0] + x[2] + x[4]) / 5, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_is_evaluated_with_the_context_that_it_was_trained_with():
    corpus = sessions()
    run = make_run(corpus, relative=True, turns=True)
    done = run.train("clstm-speech")
    result = run.test("clstm-speech", done)
    report = evaluate(run.checkpoint("clstm-speech", done, result), corpus, torch.device("cpu"))
    assert report["n_utterances"] == 16
    for metric in ("wa", "ua", "f1_weighted"):
        assert report["metrics"][metric]["value"] == pytest.approx(result.metrics[metric])


def test_a_dialogue_in_two_parts_is_refused():
    corpus = sessions()
    by_id = {u.id: u for u in corpus.utterances}
    classes = make_folds(corpus, "iemocap4-loso", None, 0)[0].classes
    fold = Fold("f", classes, ("Ses01F_impro00_0",), ("Ses01F_impro01_0",), ("Ses01F_impro00_2",))
    with pytest.raises(DataError, match="fold f: dialogue Ses01F_impro00 is in train and in test"):
        refuse_shared_dialogues(fold, by_id)
    refuse_shared_dialogues(fold, {i: Utterance(i, "x") for i in by_id})  # isolated clips have no dialogue
