import numpy as np
import pytest
from silero_vad.sequence_vad import SileroVADSequence

from emofuse.media.audio import SAMPLE_RATE, read_audio
from emofuse.media.voice import FRAME_SAMPLES, VoiceConfig, find_speech, speech_probabilities


@pytest.fixture(scope="module")
def waveform(example_clip) -> np.ndarray:
    """Silence, the example clip, silence."""
    silence = np.zeros(SAMPLE_RATE, np.float32)
    return np.concatenate([silence, read_audio(example_clip), silence])


def test_blocks_of_any_length_give_what_the_library_gives_at_once(waveform):
    from importlib.resources import files

    reference = SileroVADSequence(str(files("silero_vad") / "data" / "silero_vad_16k_sequence.onnx"))
    expected = reference.audio_forward(waveform)
    for size in (len(waveform), 7001, 300):
        blocks = [waveform[i : i + size] for i in range(0, len(waveform), size)]
        np.testing.assert_allclose(speech_probabilities(blocks), expected, atol=1e-5)


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
