"""Media in, predictions out: windows, late fusion, what is missing, and models that cannot work on media."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import emofuse
from emofuse.checkpoint import Checkpoint, save_checkpoint
from emofuse.errors import ConfigError, DataError
from emofuse.features.lexical import WordVectors
from emofuse.models import build, make_config
from emofuse.models.text_cnn import TextCNN
from emofuse.predictor import Part, Predictor, default_model, load, windows
from emofuse.protocol.inputs import FeatureConfig, FittedFeature, feature_state

CLASSES = ("angry", "happy")


def speech_checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    config = make_config("cma-speech", n_classes=2, d_model=10, n_heads=2, filters=[4, 4, 4])
    meta, arrays = feature_state(FittedFeature(FeatureConfig(kind="waveform", level="rms")))
    return Checkpoint(
        "cma-speech", config, build("cma-speech", config).eval(), CLASSES, {"speech": meta}, {"speech": arrays}
    )


def text_checkpoint(classes: tuple[str, ...] = CLASSES) -> Checkpoint:
    torch.manual_seed(1)
    config = make_config("cma-text", n_classes=len(classes), d_model=10, n_heads=2, word_dim=3)
    vectors = WordVectors({"good": 0, "bad": 1}, np.eye(3, dtype=np.float32)[:2], "two words")
    meta, arrays = feature_state(FittedFeature(FeatureConfig(kind="words"), vectors=vectors))
    return Checkpoint("cma-text", config, build("cma-text", config).eval(), classes, {"text": meta}, {"text": arrays})


@pytest.fixture
def waveform() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)


def test_windows_cover_everything_and_end_at_the_end() -> None:
    x = np.arange(25)
    assert [w.tolist() for w in windows(x[:10], 10)] == [list(range(10))]
    parts = windows(x, 10)
    assert [(w[0], w[-1]) for w in parts] == [(0, 9), (10, 19), (15, 24)]
    assert [(w[0], w[-1]) for w in windows(x[:20], 10)] == [(0, 9), (10, 19)]


def test_late_fusion_is_a_log_linear_opinion_pool(waveform: np.ndarray) -> None:
    parts = [Part(speech_checkpoint(), "s"), Part(text_checkpoint(), "t")]
    fused = Predictor(parts, [1.0, 0.5]).predict_array(waveform, "good")
    p_speech, p_text = parts[0].probabilities(waveform, None), parts[1].probabilities(None, "good")
    assert p_speech is not None
    assert p_text is not None
    expected = (p_speech * p_text**0.5) ** (1 / 1.5)
    assert list(fused.probabilities.values()) == pytest.approx(expected / expected.sum(), abs=1e-4)
    assert fused.modalities == ("speech", "text")
    assert fused.missing == ()


def test_each_modality_may_be_missing_but_not_both(waveform: np.ndarray) -> None:
    predictor = Predictor([Part(speech_checkpoint(), "s"), Part(text_checkpoint(), "t")], [1.0, 1.0])
    assert predictor.predict_array(waveform).missing == ("text",)
    assert predictor.predict_array(None, "good").missing == ("speech",)
    with pytest.raises(DataError, match="array: the model needs speech or text, found nothing"):
        predictor.predict_array(None)
    assert predictor.predict_array(waveform, "unheard-of words").missing == ("text",)
    with pytest.raises(DataError, match="the text is empty"):
        predictor.predict_array(waveform, " ")


def test_a_long_file_is_averaged_over_windows(waveform: np.ndarray) -> None:
    part = Part(speech_checkpoint(), "s")
    long = np.tile(waveform, 25)
    expected = np.mean([part.probabilities(w, None) for w in windows(long, 160_000)], axis=0)
    assert Predictor([part], [1.0]).predict_array(long).probabilities["angry"] == pytest.approx(expected[0], abs=1e-3)


def test_a_gain_does_not_change_the_decision(waveform: np.ndarray) -> None:
    predictor = Predictor([Part(speech_checkpoint(), "s")], [1.0])
    quiet = predictor.predict_array(0.1 * waveform).probabilities["angry"]
    assert quiet == pytest.approx(predictor.predict_array(waveform).probabilities["angry"], abs=1e-3)


def test_folders_on_disk_give_the_same_predictions(tmp_path: Path, waveform: np.ndarray) -> None:
    save_checkpoint(tmp_path / "m" / "speech", speech_checkpoint())
    save_checkpoint(tmp_path / "m" / "text", text_checkpoint())
    (tmp_path / "m" / "fusion.json").write_text(json.dumps({"parts": {"speech": 1.0, "text": 0.5}}))
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, waveform, 16_000, subtype="FLOAT")
    direct = Predictor([Part(speech_checkpoint(), "s"), Part(text_checkpoint(), "t")], [1.0, 0.5])
    loaded = load(tmp_path / "m").predict(clip, "bad")
    assert loaded.probabilities == direct.predict_array(waveform, "bad").probabilities
    assert loaded.to_dict()["source"] == str(clip)
    assert (loaded.start_s, loaded.end_s, loaded.speaker) == (0.0, 1.0, None)


def test_a_model_of_both_modalities_needs_both(waveform: np.ndarray) -> None:
    torch.manual_seed(2)
    config = make_config("cma", n_classes=2, d_model=10, n_heads=2, word_dim=3, filters=[4, 4, 4])
    speech, text = speech_checkpoint(), text_checkpoint()
    both = Checkpoint(
        "cma",
        config,
        build("cma", config).eval(),
        CLASSES,
        speech.features | text.features,
        speech.feature_arrays | text.feature_arrays,
    )
    predictor = Predictor([Part(both, "b")], [1.0])
    assert predictor.predict_array(waveform, "good bad").modalities == ("speech", "text")
    with pytest.raises(DataError, match=r"the model needs speech and text, found speech$"):
        predictor.predict_array(waveform)
    with pytest.raises(DataError, match=r"found speech and text without a word that it knows$"):
        predictor.predict_array(waveform, "unheard-of words")


def test_a_contextual_system_on_words_takes_the_clip_as_its_first_utterance() -> None:
    torch.manual_seed(3)
    vectors = WordVectors({"good": 0, "bad": 1}, np.eye(3, dtype=np.float32)[:2], "two words")
    cnn = TextCNN(make_config("text-cnn", word_dim=3, n_features=5, filters=4))
    meta, arrays = feature_state(FittedFeature(FeatureConfig(kind="text-cnn"), None, vectors, cnn))
    config = make_config("clstm-text", n_classes=2, feature_dims={"text": 5}, n_hidden=4, n_dense=4)
    model = build("clstm-text", config).eval()
    part = Part(Checkpoint("clstm-text", config, model, CLASSES, {"text": meta}, {"text": arrays}), "c")
    with torch.no_grad():
        hidden = cnn.eval().features(torch.from_numpy(vectors.vectors[None]), torch.tensor([2]))
        expected = model(torch.tensor([1]), text=hidden[None]).softmax(-1).flatten().tolist()
    found = Predictor([part], [1.0]).predict_array(None, "good bad").probabilities
    assert list(found.values()) == pytest.approx(expected, abs=1e-3)


def test_parts_must_share_their_classes() -> None:
    with pytest.raises(ConfigError, match="different classes"):
        Predictor([Part(speech_checkpoint(), "s"), Part(text_checkpoint(("sad", "calm")), "t")], [1.0, 1.0])


def test_a_model_on_stored_features_says_why_it_cannot() -> None:
    config = make_config("clstm-text", n_classes=2, feature_dims={"text": 3}, n_hidden=4, n_dense=4)
    meta, arrays = feature_state(FittedFeature(FeatureConfig(kind="stored")))
    stored = Checkpoint("clstm-text", config, build("clstm-text", config), CLASSES, {"text": meta}, {"text": arrays})
    with pytest.raises(ConfigError, match="cannot be made from a media file"):
        Part(stored, "runs/x")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"parts": {"speech": "heavy"}}'])
def test_a_damaged_fusion_file_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "fusion.json").write_text(content)
    with pytest.raises(DataError, match=r"fusion\.json: need") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_the_model_that_ships_works_and_is_small(waveform: np.ndarray) -> None:
    predictor = emofuse.load()
    prediction = predictor.predict_array(waveform, "I am so sad, I miss her.")
    assert predictor.classes == ("angry", "happy", "neutral", "sad")
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-3)
    assert sum(f.stat().st_size for f in default_model().rglob("*") if f.is_file()) < 8_000_000


def test_importing_the_package_does_not_import_torch() -> None:
    script = "import sys, emofuse; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    with pytest.raises(AttributeError, match="nothing"):
        _ = emofuse.nothing
