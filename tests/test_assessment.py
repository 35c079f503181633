"""A whole model against a corpus: judged as `predict` judges, on nothing that it was trained on, part beside part."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from emofuse.assessment import assess
from emofuse.checkpoint import Checkpoint
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import ConfigError, DataError
from emofuse.features.lexical import WordVectors
from emofuse.models import build, make_config
from emofuse.predictor import Part, Predictor
from emofuse.protocol.feature import FeatureConfig
from emofuse.protocol.fitted import FittedFeature, feature_state
from emofuse.protocol.splits import make_folds

CLASSES = ("angry", "happy", "neutral", "sad")
SENTENCES = ("good", "bad", "bad good", "unheard-of")


def part(modality: str, provenance: dict | None = None, classes: tuple[str, ...] = CLASSES) -> Part:
    torch.manual_seed(0)
    name, feature = "cma-speech", FittedFeature(FeatureConfig(kind="waveform"))
    if modality == "text":
        vectors = WordVectors({"good": 0, "bad": 1}, np.eye(3, dtype=np.float32)[:2], "two words")
        name, feature = "cma-text", FittedFeature(FeatureConfig(kind="words"), vectors=vectors)
    config = make_config(name, n_classes=len(classes), d_model=10, n_heads=2, word_dim=3, filters=[4, 4, 4])
    meta, arrays = feature_state(feature)
    checkpoint = Checkpoint(name, config, build(name, config).eval(), classes, {modality: meta}, {modality: arrays})
    return Part(replace(checkpoint, provenance=provenance or {}).trained(), modality)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Eight clips of noise by four speakers of both sexes, each with a sentence; two more cannot be scored."""
    rng = np.random.default_rng(0)
    utterances = []
    for i in range(10):
        clip = tmp_path / f"{i}.wav"
        soundfile.write(clip, rng.normal(0, 0.1, 8000), 16_000)
        label = (*CLASSES, *CLASSES, "bored", None)[i]
        speaker, sex = f"s{i % 4}", ("female", "male")[i % 2]
        u = Utterance(f"u{i}", "manifest", label, speaker=speaker, sex=sex, text=SENTENCES[i % 4], audio=clip)
        utterances.append(u)
    return Corpus("manifest", tuple(utterances))


def test_every_labelled_utterance_is_judged_as_predict_does(corpus: Corpus) -> None:
    predictor = Predictor([part("speech"), part("text")], [0.5, 0.8])
    report = assess(predictor, corpus)
    assert report["n_utterances"] == 8
    assert report["n_without_evidence"] == 0
    counts = np.zeros((4, 4), int)
    for u in corpus.utterances[:8]:
        assert u.audio is not None
        (prediction,) = predictor.predict(u.audio, u.text)
        counts[CLASSES.index(u.label or ""), CLASSES.index(prediction.label)] += 1
    assert report["confusion"] == counts.tolist()
    assert {sex: p["n_utterances"] for sex, p in report["by_sex"].items()} == {"female": 4, "male": 4}
    # "unheard-of" is no word: the text alone has judged three in four
    assert {title: p["n_utterances"] for title, p in report["parts"].items()} == {"speech": 8, "text": 6}
    bins = report["calibration"]
    assert sum(b["n"] for b in bins) == 8
    assert sum(b["n"] * b["accuracy"] for b in bins) == pytest.approx(np.trace(counts))


def test_what_is_withheld_is_not_used(corpus: Corpus) -> None:
    both = Predictor([part("speech"), part("text")])
    withheld = assess(both, corpus, without=["text"])
    assert withheld["parts"].keys() == {"speech"}
    assert withheld["confusion"] == assess(Predictor([part("speech")]), corpus)["confusion"]
    words = assess(both, corpus, without=["speech"])
    assert (words["n_utterances"], words["n_without_evidence"]) == (6, 2)
    with pytest.raises(DataError, match="manifest: of 8 utterances the model can use none"):
        assess(both, corpus, without=["speech", "text", "visual"])


def test_what_a_part_was_trained_on_is_left_out(corpus: Corpus) -> None:
    recipe = {"name": "mine", "corpus": "manifest", "protocol": "speakers", "labels": "emotions4"}
    many = [replace(u, id=f"{u.id}-{k}", speaker=f"{u.speaker}-{k}") for k in range(4) for u in corpus.utterances[:8]]
    corpus = replace(corpus, utterances=tuple(many))
    (fold, *_) = make_folds(corpus, "speakers", "emotions4", 0)
    provenance = {"recipe": recipe, "seed": 0, "fold": fold.name}
    report = assess(Predictor([part("speech", provenance), part("text")]), corpus)
    assert 0 < report["n_utterances"] == len(fold.test) < 32
    merged = {"recipe": recipe | {"corpus": "manifest+emodb"}}
    with pytest.raises(ConfigError, match=r"mine was trained on manifest\+emodb: name that corpus"):
        assess(Predictor([part("speech", merged)]), corpus)


def test_a_model_of_other_classes_is_refused(corpus: Corpus) -> None:
    with pytest.raises(ConfigError, match=r"a model of \['angry', 'happy'\]: as a whole"):
        assess(Predictor([part("speech", classes=("angry", "happy"))]), corpus)
