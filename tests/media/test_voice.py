import hashlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from silero_vad import get_speech_timestamps_from_probs
from silero_vad.sequence_vad import SileroVADSequence

from emofuse.media.audio import SAMPLE_RATE, read_audio
from emofuse.media.voice import FRAME_SAMPLES, NETWORK, VoiceConfig, find_speech, speech_probabilities

THEIRS = Path(str(files("silero_vad"))) / "data" / "silero_vad_16k_sequence.onnx"


@pytest.fixture(scope="module")
def waveform(example_clip) -> np.ndarray:
    """Silence, the example clip, silence."""
    silence = np.zeros(SAMPLE_RATE, np.float32)
    return np.concatenate([silence, read_audio(example_clip), silence])


def test_blocks_of_any_length_give_what_the_library_gives_at_once(waveform):
    reference = SileroVADSequence(str(THEIRS))
    expected = reference.audio_forward(waveform)
    for size in (len(waveform), 7001, 300):
        blocks = [waveform[i : i + size] for i in range(0, len(waveform), size)]
        np.testing.assert_allclose(speech_probabilities(blocks), expected, atol=1e-4)


def test_the_network_is_the_one_that_its_card_names():
    digest = hashlib.sha256(NETWORK.read_bytes()).hexdigest()
    theirs = hashlib.sha256(THEIRS.read_bytes()).hexdigest()
    card = (NETWORK.parent / "README.md").read_text(encoding="utf-8")
    assert f"`{digest}`" in card
    assert f"`{theirs}`" in card


CONFIGS = {
    "usual": VoiceConfig(),
    "live": VoiceConfig(min_silence_s=0.3),
    "long": VoiceConfig(max_speech_s=30.0, min_silence_s=1.0),
    "short": VoiceConfig(threshold=0.1, max_speech_s=2.0, pad_s=0.05, min_speech_s=0.05, min_silence_s=0.9),
    "no padding": VoiceConfig(pad_s=0.0, max_speech_s=3.0, min_silence_s=0.6),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_utterances_are_those_that_the_library_finds(name):
    config, rng = CONFIGS[name], np.random.default_rng(0)
    n_found = 0
    for _ in range(40):
        # speech and pauses of random lengths, with noise that crosses both thresholds now and then
        lengths = rng.integers(1, 60, 40)
        p = np.repeat(rng.choice([0.02, 0.45, 0.97], 40), lengths) + rng.normal(0, 0.12, lengths.sum())
        p = np.clip(p, 0, 1).astype(np.float32)
        total = len(p) * FRAME_SAMPLES - int(rng.integers(FRAME_SAMPLES))
        expected = get_speech_timestamps_from_probs(
            p.tolist(),
            SAMPLE_RATE,
            threshold=config.threshold,
            min_speech_duration_ms=round(1000 * config.min_speech_s),
            max_speech_duration_s=config.max_speech_s,
            min_silence_duration_ms=round(1000 * config.min_silence_s),
            speech_pad_ms=round(1000 * config.pad_s),
            audio_length_samples=total,
        )
        found = find_speech(p, total / SAMPLE_RATE, config)
        assert [(round(s.start_s * SAMPLE_RATE), round(s.end_s * SAMPLE_RATE)) for s in found] == [
            (s["start"], s["end"]) for s in expected
        ]
        n_found += len(found)
    assert n_found > 200


def test_speech_is_found_where_it_is(waveform):
    (segment,) = find_speech(speech_probabilities([waveform]), len(waveform) / SAMPLE_RATE)
    assert 0.5 < segment.start_s < 1.6
    assert len(waveform) / SAMPLE_RATE - 1.9 < segment.end_s <= len(waveform) / SAMPLE_RATE
    assert segment.text is None


@pytest.mark.parametrize("kind", ["silence", "noise", "tone"])
def test_no_speech_in_what_is_none(kind):
    n = 3 * SAMPLE_RATE
    x = {
        "silence": np.zeros(n),
        "noise": 0.05 * np.random.default_rng(0).standard_normal(n),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * np.arange(n) / SAMPLE_RATE),
    }[kind]
    assert find_speech(speech_probabilities([x.astype(np.float32)])) == []


def test_nothing_at_all():
    assert speech_probabilities([]).shape == (0,)
    assert find_speech(np.zeros(0, np.float32)) == []


def frames(*stretches: tuple[float, float]) -> np.ndarray:
    """Probabilities of stretches of (seconds, probability)."""
    per_s = SAMPLE_RATE / FRAME_SAMPLES
    return np.concatenate([np.full(round(s * per_s), p, np.float32) for s, p in stretches])


def test_pauses_by_hand():
    config = VoiceConfig(pad_s=0.0)
    # 0.3 s is a pause within an utterance, 1 s is one between two
    p = frames((1, 0), (1, 1), (0.3, 0), (1, 1), (1, 0), (1, 1), (1, 0))
    first, second = find_speech(p, config=config)
    assert (first.start_s, first.end_s) == pytest.approx((1, 3.3), abs=0.05)
    assert (second.start_s, second.end_s) == pytest.approx((4.3, 5.3), abs=0.1)  # frames are 32 ms


def test_long_speech_is_divided_at_its_pause_and_nothing_is_lost():
    p = frames((12, 1), (0.2, 0), (12, 1))
    first, second = find_speech(p, config=VoiceConfig(pad_s=0.0, max_speech_s=20.0))
    assert first.end_s == pytest.approx(12, abs=0.1)
    assert (second.start_s, second.end_s) == pytest.approx((12.2, 24.2), abs=0.1)
    long = find_speech(frames((65, 1)), config=VoiceConfig(pad_s=0.0))
    assert max(s.end_s - s.start_s for s in long) <= 10
    assert sum(s.end_s - s.start_s for s in long) == pytest.approx(65, abs=0.2)
