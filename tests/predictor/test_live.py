"""A conversation that goes on: what is said of it is what is said of the same utterances afterwards."""

from pathlib import Path

import numpy as np
import pytest
import torch

import emofuse
from emofuse.checkpoint import Checkpoint
from emofuse.features.lexical import WordVectors
from emofuse.media.audio import read_audio
from emofuse.media.segment import Segment
from emofuse.models import build, make_config
from emofuse.models.text_cnn import TextCNN
from emofuse.predictor import Part, Predictor
from emofuse.predictor.live import Live, LivePrediction
from emofuse.protocol.feature import FeatureConfig
from emofuse.protocol.fitted import FittedFeature, feature_state
from emofuse.protocol.fitting import hidden_of
from emofuse.recording import Utterance


@pytest.fixture(scope="module")
def talk(example_clip: Path) -> np.ndarray:
    clip, pause = read_audio(example_clip), np.zeros(16_000, np.float32)
    return np.concatenate([clip, pause, clip, pause])


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return emofuse.load()


def replay(live: Live, waveform: np.ndarray, size: int = 1600) -> list[LivePrediction]:
    pieces = [waveform[i : i + size] for i in range(0, len(waveform), size)]
    return [found for piece in pieces for found in live.push(piece)] + list(live.end())


def test_finals_are_what_predict_says_of_the_same_utterances(predictor: Predictor, talk: np.ndarray) -> None:
    finals = [f for f in replay(Live(predictor, "talk"), talk) if f.kind == "final"]
    assert [f.number for f in finals] == list(range(len(finals)))
    assert len(finals) >= 2
    for final in finals:
        p = final.prediction
        assert p is not None
        part = talk[round(p.start_s * 16_000) : round(p.end_s * 16_000)]
        expected = predictor.predict_array(part)
        assert p.probabilities == pytest.approx(expected.probabilities, abs=1e-3)
        assert p.source == "talk"


def test_provisional_ones_can_be_left_out(predictor: Predictor, talk: np.ndarray) -> None:
    kinds = {f.kind for f in replay(Live(predictor), talk)}
    assert kinds == {"provisional", "final"}
    assert {f.kind for f in replay(Live(predictor, every_s=None), talk)} == {"final"}


def test_words_go_where_they_belong(predictor: Predictor, talk: np.ndarray) -> None:
    live = Live(predictor, every_s=None)
    assert live.say("I am so happy", "Anna") is None  # before: of the next utterance
    first = []
    for i in range(0, len(talk), 1600):
        first += list(live.push(talk[i : i + 1600]))
        if first:
            break
    assert first[0].prediction is not None
    assert (first[0].prediction.text, first[0].prediction.speaker) == ("I am so happy", "Anna")
    late = live.say("to see you.")
    assert late is not None
    assert late.kind == "revised"
    (observed,) = predictor.observe([late.utterance])
    revised = live.conclude(late, observed)
    assert revised.number == 0
    assert revised.prediction is not None
    assert revised.prediction.text == "I am so happy to see you."
    rest = [f for f in replay(live, talk[i + 1600 :]) if f.kind == "final"]
    assert rest[0].number == 1
    assert rest[0].prediction is not None
    assert rest[0].prediction.text is None
    for _ in range(4):
        list(live.push(np.zeros(16_000, np.float32)))
    assert live.say("Much later.") is None


def contextual() -> Predictor:
    """A past-only LSTM over words."""
    torch.manual_seed(0)
    vectors = WordVectors({"good": 0, "bad": 1}, np.eye(4, dtype=np.float32)[:2], "two words")
    cnn = hidden_of(TextCNN(make_config("text-cnn", word_dim=4, n_features=5, filters=4)))
    feature = FittedFeature(FeatureConfig(kind="text-cnn"), None, vectors, cnn)
    meta, arrays = feature_state(feature)
    config = make_config("clstm-text", n_classes=2, feature_dims={"text": 5}, n_hidden=4, n_dense=4)
    model = build("clstm-text", config).eval()
    classes = ("negative", "positive")
    return Predictor(
        [Part(Checkpoint("clstm-text", config, model, classes, {"text": meta}, {"text": arrays}).trained(), "x")]
    )


def test_the_past_counts_and_is_remembered_once() -> None:
    predictor = contextual()
    texts = ["good", "bad bad", "good bad", "bad"]
    utterances = [Utterance(Segment(i, i + 1, None, text)) for i, text in enumerate(texts)]
    expected = predictor.judge(utterances, "live")
    live = Live(predictor)
    for n, (u, whole) in enumerate(zip(utterances, expected, strict=True)):
        for kind in ("provisional", "provisional", "final", "revised"):
            from emofuse.predictor.live import Heard

            (observed,) = predictor.observe([u])
            found = live.conclude(Heard(n, u, kind), observed)
            assert found.prediction == whole
    assert expected[3] != predictor.judge(utterances[3:], "live")[0]
