from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from emofuse.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import ConfigError, DataError
from emofuse.exporting.folder import export_model
from emofuse.protocol.evaluate import evaluate
from emofuse.protocol.recipe import Recipe
from emofuse.protocol.run import FoldRun, Inputs
from emofuse.protocol.splits import make_folds

CPU = torch.device("cpu")
LABELS = ("happy", "sad", "neutral", "angry")


def iemocap_like(name: str = "iemocap-table") -> Corpus:
    """Five sessions of three dialogues of five utterances, the last one without label; the label shows."""
    rng = np.random.default_rng(0)
    utterances, rows = [], []
    for session in range(1, 6):
        for d in range(3):
            dialogue = f"Ses0{session}F_impro0{d}"
            for i, label in enumerate([*rng.permutation(LABELS), None]):
                speaker = f"Ses0{session}{'FM'[i % 2]}"
                u = Utterance(f"{dialogue}_{i}", name, label, dialogue=dialogue, index=i, speaker=speaker)
                utterances.append(replace(u, session=f"Ses0{session}", features={"speech": len(rows)}))
                rows.append(rng.normal(size=4) + 2 * np.eye(4)[LABELS.index(label) if label else 0])
    return Corpus(name, tuple(utterances), {"speech": np.array(rows, np.float32)})


def trained(tmp_path, corpus: Corpus | None = None, **changes: Any) -> tuple[Checkpoint, FoldRun]:
    """A checkpoint that has been through its file, and the run that made it."""
    recipe = Recipe.model_validate(
        {
            "name": "small",
            "paper": "",
            "command": "",
            "expected": "",
            "corpus": "iemocap-table",
            "protocol": "iemocap4-loso",
            "systems": ["clstm-speech"],
            "features": {"speech": {"kind": "stored"}},
            "model": {"d_model": 4, "n_hidden": 8, "n_dense": 6},
            "training": {"max_epochs": 12, "batch_size": 4, "learning_rate": 0.03},
        }
        | changes
    )
    corpus = corpus or iemocap_like()
    fold = make_folds(corpus, recipe.protocol, recipe.labels, 1)[-1]
    used = {*fold.train, *fold.dev, *fold.test}
    run = FoldRun(Inputs(recipe, corpus, [u for u in corpus.utterances if u.id in used]), fold, 1)
    name = recipe.systems[0]
    done = run.train(name)
    save_checkpoint(tmp_path / "model", run.checkpoint(name, done, run.test(name, done)))
    return load_checkpoint(tmp_path / "model"), run


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> tuple[Checkpoint, FoldRun]:
    return trained(tmp_path_factory.mktemp("checkpoint"))


def test_on_its_corpus_it_gives_the_stored_test_metrics(model):
    checkpoint, run = model
    report = evaluate(checkpoint, iemocap_like(), CPU)
    assert (report["system"], report["corpus"], report["group"]) == ("clstm-speech", "iemocap-table", "dialogue")
    assert report["n_utterances"] == len(run.fold.test) == 12
    stored = checkpoint.provenance["test"]
    for metric in ("wa", "ua", "f1_macro", "f1_weighted"):
        assert report["metrics"][metric]["value"] == pytest.approx(stored[metric])
        low, high = report["metrics"][metric]["ci95"]
        assert low <= stored[metric] <= high
    # the stored ECE is before calibration
    plain = evaluate(replace(checkpoint, temperature=1.0), iemocap_like(), CPU)
    assert plain["metrics"]["ece"]["value"] == pytest.approx(stored["ece"], abs=1e-4)
    assert checkpoint.temperature != 1
    assert report["metrics"]["ece"]["value"] != plain["metrics"]["ece"]["value"]
    counts = np.array(report["confusion"])
    assert counts.sum() == 12
    assert report["recalls"] == pytest.approx(
        dict(zip(checkpoint.classes, np.diag(counts) / counts.sum(axis=1), strict=True))
    )


def test_the_rest_of_its_corpus_does_not_matter(model):
    checkpoint, run = model
    corpus = iemocap_like()
    features = corpus.features["speech"].copy()
    for u in corpus.utterances:
        if u.id not in run.fold.test:
            features[u.features["speech"]] = 1000
    other = replace(corpus, features={"speech": features})
    assert evaluate(checkpoint, other, CPU) == evaluate(checkpoint, corpus, CPU)


def test_on_another_corpus_every_labelled_utterance_is_scored(model):
    checkpoint, _ = model
    corpus = iemocap_like("manifest")
    report = evaluate(checkpoint, corpus, CPU)
    assert (report["corpus"], report["group"]) == ("manifest", "speaker")
    assert report["n_utterances"] == 5 * 3 * 4
    session = replace(corpus, utterances=tuple(u for u in corpus.utterances if u.session == "Ses05"))
    assert evaluate(checkpoint, session, CPU)["confusion"] == evaluate(checkpoint, iemocap_like(), CPU)["confusion"]
    few = evaluate(checkpoint, replace(corpus, utterances=corpus.utterances[:7]), CPU)
    assert few["n_utterances"] == 6


def test_a_class_that_is_not_there_has_no_recall_and_a_lone_speaker_no_interval(model):
    checkpoint, _ = model
    corpus = iemocap_like("manifest")
    sad = replace(corpus, utterances=tuple(u for u in corpus.utterances if u.label == "sad" and u.speaker == "Ses01F"))
    assert sad.utterances
    report = evaluate(checkpoint, sad, CPU)
    assert {name for name, value in report["recalls"].items() if value is None} == {"happy", "neutral", "angry"}
    assert all(entry["ci95"] is None for entry in report["metrics"].values())


def test_of_several_corpora_each_is_scored_too(model):
    checkpoint, _ = model
    one, two = (iemocap_like("manifest"), iemocap_like("emodb"))
    utterances = (*one.utterances, *(replace(u, id=f"b/{u.id}", dialogue=f"b/{u.dialogue}") for u in two.utterances))
    report = evaluate(checkpoint, Corpus("manifest+emodb", utterances, one.features), CPU)
    assert report["n_utterances"] == 120
    assert {name: part["n_utterances"] for name, part in report["by_corpus"].items()} == {"emodb": 60, "manifest": 60}
    alone = evaluate(checkpoint, one, CPU)
    assert "by_corpus" not in alone
    assert report["by_corpus"]["manifest"]["confusion"] == alone["confusion"]


def fused(tmp_path) -> tuple[Checkpoint, Corpus, FoldRun]:
    """A checkpoint of two modalities, the second one noise."""
    corpus = iemocap_like()
    noise = np.random.default_rng(1).normal(size=(75, 3)).astype(np.float32)
    both = tuple(replace(u, features={**u.features, "text": u.features["speech"]}) for u in corpus.utterances)
    corpus = replace(corpus, utterances=both, features={**corpus.features, "text": noise})
    features = {"speech": {"kind": "stored"}, "text": {"kind": "stored"}}
    checkpoint, run = trained(tmp_path, corpus, systems=["clstm-ef"], features=features)
    return checkpoint, corpus, run


def test_modalities_can_be_removed(tmp_path):
    checkpoint, corpus, run = fused(tmp_path)
    complete = evaluate(checkpoint, corpus, CPU)
    assert complete["metrics"]["wa"]["value"] == pytest.approx(checkpoint.provenance["test"]["wa"])
    assert "removed" not in complete
    blind = evaluate(checkpoint, corpus, CPU, removed=["text"])
    assert blind["removed"] == ["text"]
    # what is removed, and what a corpus does not have, are the same
    bare = tuple(replace(u, features={"speech": u.features["speech"]}) for u in corpus.utterances)
    never = evaluate(checkpoint, replace(corpus, utterances=bare), CPU)
    assert never["confusion"] == blind["confusion"]
    deaf = evaluate(checkpoint, corpus, CPU, removed=["speech"])
    assert deaf["metrics"]["wa"]["value"] < blind["metrics"]["wa"]["value"]
    assert run.test("clstm-ef", run.trained["clstm-ef"], ["speech"]).metrics["wa"] == pytest.approx(
        deaf["metrics"]["wa"]["value"]
    )


def test_what_cannot_be_removed(tmp_path):
    checkpoint, corpus, _ = fused(tmp_path)
    for removed, message in (
        (["visual"], "clstm-ef does not use visual; it uses speech, text"),
        (["speech", "text"], "clstm-ef uses speech, text: nothing would be left"),
    ):
        with pytest.raises(ConfigError, match=message):
            evaluate(checkpoint, corpus, CPU, removed=removed)
    bare = replace(corpus, utterances=tuple(replace(u, features={}) for u in corpus.utterances))
    message = error(checkpoint, bare, DataError)
    assert message.endswith("has no stored speech feature and has no stored text feature")


def error(checkpoint: Checkpoint, corpus: Corpus, kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        evaluate(checkpoint, corpus, CPU)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_provenance(model):
    message = "the checkpoint does not say on what it was trained; it cannot be evaluated"
    for provenance in ({}, {"recipe": {"corpus": "iemocap-table"}}):
        assert error(replace(model[0], provenance=provenance), iemocap_like(), ConfigError) == message


def test_the_classes_of_a_task_are_had_from_its_corpus_only(tmp_path):
    checkpoint, run = trained(tmp_path, protocol="iemocap-binary-s5")
    assert checkpoint.classes == run.fold.classes.classes == ("rest", "angry")
    report = evaluate(checkpoint, iemocap_like(), CPU)
    assert report["metrics"]["wa"]["value"] == pytest.approx(checkpoint.provenance["test"]["wa"])
    message = error(checkpoint, iemocap_like("manifest"), ConfigError)
    assert message == "classes ['rest', 'angry'] belong to one task of a protocol: evaluate on its corpus"


def test_a_fold_that_is_not_there(model):
    checkpoint, _ = model
    corpus = iemocap_like()
    less = replace(corpus, utterances=tuple(u for u in corpus.utterances if u.session != "Ses05"))
    message = error(checkpoint, less, DataError)
    assert message == "iemocap-table: no fold 'Ses05'; has ['Ses01', 'Ses02', 'Ses03', 'Ses04']"


def test_without_labels(model):
    corpus = iemocap_like("manifest")
    unlabelled = replace(corpus, utterances=tuple(replace(u, label=None) for u in corpus.utterances))
    message = error(model[0], unlabelled, DataError)
    assert message == "manifest: no utterance has one of the labels angry, happy, neutral, sad"


def test_without_the_features(model):
    corpus = iemocap_like("manifest")
    bare = Corpus("manifest", tuple(replace(u, features={}) for u in corpus.utterances))
    message = error(model[0], bare, DataError)
    assert message == "manifest: utterance Ses01F_impro00_0 has no stored speech feature"


def test_an_exported_system_is_scored_like_the_checkpoint(model, tmp_path):
    checkpoint, _ = model
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, checkpoint)
    export_model(folder, tmp_path / "exported")
    exported = load_checkpoint(tmp_path / "exported")
    assert not list(exported.model.parameters())
    expected, found = evaluate(checkpoint, iemocap_like(), CPU), evaluate(exported, iemocap_like(), CPU)
    assert found["confusion"] == expected["confusion"]
    for metric in ("ua", "ece"):
        assert found["metrics"][metric]["value"] == pytest.approx(expected["metrics"][metric]["value"], abs=1e-5)
