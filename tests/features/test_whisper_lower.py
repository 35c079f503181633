import hashlib

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from scipy.signal import chirp

from emofuse.errors import DataError
from emofuse.features.acoustic import mel_filters
from emofuse.features.whisper_lower import (
    FLOOR,
    WEIGHTS,
    WEIGHTS_SHA256,
    encode,
    loud_span,
    network,
    whisper_log_mel,
    whisper_lower,
    whisper_lower_rows,
)
from emofuse.graph import multiplies_integers
from emofuse.quantised import unpack

RNG = np.random.default_rng(0)


def tone(seconds: float, level: float = 0.1) -> np.ndarray:
    time = np.arange(round(seconds * 16_000)) / 16_000
    return (level * chirp(time, 150, seconds, 900)).astype(np.float32)


def quiet(seconds: float, level: float = 1e-4) -> np.ndarray:
    return RNG.normal(0, level, round(seconds * 16_000)).astype(np.float32)


def test_the_weights_are_those_of_the_settings():
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == WEIGHTS_SHA256
    assert whisper_lower().settings["sha256"] == WEIGHTS_SHA256


def test_quiet_ends_are_left_out_and_quiet_inside_is_kept():
    clip = np.concatenate([quiet(0.5), tone(0.6), quiet(0.4), tone(0.6), quiet(1.0)])
    start, end = loud_span(clip)
    assert (start, end) == (8000, 33_600)
    assert loud_span(tone(1.0)) == (0, 16_000)
    assert loud_span(np.zeros(16_000, np.float32)) == (0, 16_000)
    assert loud_span(tone(0.05)) == (0, 800)


def test_log_mel_is_whisper_s_own_but_for_the_floor():
    faster_whisper = pytest.importorskip("faster_whisper")
    clip = np.concatenate([tone(1.0), quiet(0.5), tone(0.5)])
    theirs = faster_whisper.feature_extractor.FeatureExtractor()(clip, padding=0).T
    ours = whisper_log_mel(clip)
    assert ours.shape == (200, 80)
    expected = np.maximum(theirs, theirs.max() - FLOOR / 4)
    np.testing.assert_allclose(ours[2:-4], expected[2:196], atol=2e-4)  # they reflect at the ends


def test_filters_of_whisper():
    assert mel_filters(80, 400).shape == (80, 201)
    np.testing.assert_allclose(mel_filters(80, 400)[0].sum(), 0.0248626, rtol=1e-4)


@pytest.mark.parametrize("gain", [0.01, 3.0])
def test_the_recording_gain_does_not_matter(gain):
    clip = np.concatenate([quiet(0.3, 1e-6), tone(1.0, 0.2)])
    np.testing.assert_allclose(whisper_lower_rows(clip * np.float32(gain)), whisper_lower_rows(clip), atol=2e-3)


def test_silence_around_a_clip_does_not_matter():
    clip = tone(1.2)
    silent = np.zeros(8000, np.float32)
    around = np.concatenate([silent, clip, silent])
    start, end = loud_span(around)
    assert (start, end) == (8000, 8000 + len(clip))
    np.testing.assert_array_equal(whisper_lower_rows(around), whisper_lower_rows(clip))


def test_rows_come_50_times_a_second_and_long_clips_in_windows():
    assert whisper_lower()(tone(1.0)).shape == (50, 384)
    assert whisper_lower()(tone(1.013)).shape == (51, 384)
    long = whisper_lower_rows(np.tile(tone(2.0), 18))
    assert long.shape == (1800, 384)
    assert np.isfinite(long).all()


def test_the_network_is_the_library_s_with_these_weights():
    transformers = pytest.importorskip("transformers")
    sizes = {"d_model": 384, "encoder_layers": 2, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}
    theirs = transformers.models.whisper.modeling_whisper.WhisperEncoder(transformers.WhisperConfig(**sizes)).eval()
    ours = {k: torch.from_numpy(v) for k, v in unpack(load_file(WEIGHTS)).items()}
    names = {"attention_norm": "self_attn_layer_norm", "output": "self_attn.out_proj", "mlp_norm": "final_layer_norm"}
    names |= {"mlp1": "fc1", "mlp2": "fc2"}
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("layers.")}
    state |= {k.removeprefix("stem."): v for k, v in ours.items() if k.startswith("stem.")}
    for name, value in ours.items():
        if name.startswith("blocks."):
            _, i, layer, kind = name.split(".")
            if layer != "qkv":
                state[f"layers.{i}.{names[layer]}.{kind}"] = value
                continue
            for part, values in zip("qkv", value.chunk(3), strict=True):
                if (part, kind) == ("k", "bias"):
                    assert not values.any()  # Whisper's keys have none
                else:
                    state[f"layers.{i}.self_attn.{part}_proj.{kind}"] = values
    theirs.load_state_dict(state)
    log_mel = RNG.normal(0, 0.5, (3000, 80)).astype(np.float32)
    with torch.inference_mode():
        hidden = theirs(torch.from_numpy(log_mel).T[None], output_hidden_states=True).hidden_states
    # the last one is normalised on top
    expected = hidden[-1][0]
    (rows,) = network(integers=False).run(None, {"log_mel": log_mel[None]})
    found = theirs.layer_norm(torch.from_numpy(rows[0]))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("clip", [np.zeros(100, np.float32), np.full(16_000, np.nan, np.float32)])
def test_what_cannot_be_heard_is_refused(clip):
    with pytest.raises(DataError, match="waveform"):
        whisper_lower_rows(clip)


@pytest.mark.skipif(not multiplies_integers(), reason="needs a processor that multiplies bytes exactly (VNNI)")
def test_in_integers_it_is_nearly_the_same():
    for seconds, level in ((0.31, 0.02), (1.0, 0.1), (11.0, 0.3)):
        log_mel = whisper_log_mel(tone(seconds, level))
        exact, rounded = (network(i).run(None, {"log_mel": log_mel[None]})[0][0] for i in (False, True))
        assert 0 < np.abs(exact - rounded).max() < 0.5
        spread = np.linalg.norm(exact - exact.mean(axis=0))
        assert np.linalg.norm(exact - rounded) < 0.1 * spread
        np.testing.assert_allclose(rounded.mean(axis=0), exact.mean(axis=0), atol=0.05)


def test_without_exact_products_of_integers_it_is_computed_in_floats(monkeypatch):
    log_mel = whisper_log_mel(tone(0.5))
    for integers in (False, True):
        monkeypatch.setattr("emofuse.features.whisper_lower.multiplies_integers", lambda is_so=integers: is_so)
        (expected,) = network(integers).run(None, {"log_mel": log_mel[None]})
        np.testing.assert_array_equal(encode(log_mel), expected[0])
