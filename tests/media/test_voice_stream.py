"""Utterances of sound that goes on: whatever the pieces, the same ones, and close to those of the whole."""

from pathlib import Path

import numpy as np
import pytest

from emofuse.media.audio import read_audio
from emofuse.media.voice import FRAME_SAMPLES, SpeechProbabilities, find_speech, speech_probabilities
from emofuse.media.voice_stream import LIVE, Spoken, VoiceStream


@pytest.fixture(scope="module")
def talk(example_clip: Path) -> np.ndarray:
    """Three times the example, with pauses of a second, and a short one between its halves."""
    clip, pause = read_audio(example_clip), np.zeros(16_000, np.float32)
    return np.concatenate([pause, clip, pause, clip, clip, pause])


def all_of(waveform: np.ndarray, size: int, stream: VoiceStream | None = None) -> list[Spoken]:
    stream = stream or VoiceStream()
    pieces = [waveform[i : i + size] for i in range(0, len(waveform), size)]
    return [s for piece in pieces for s in stream.push(piece)] + list(stream.end())


def test_the_pieces_make_no_difference(talk: np.ndarray) -> None:
    whole = all_of(talk, len(talk))
    assert sum(s.ended for s in whole) >= 2
    for size in (100, FRAME_SAMPLES, 1600, 7777):
        found = all_of(talk, size)
        assert [(s.number, s.start_s, s.end_s, s.ended) for s in found] == [
            (s.number, s.start_s, s.end_s, s.ended) for s in whole
        ]
        assert all(np.array_equal(a.waveform, b.waveform) for a, b in zip(found, whole, strict=True))


def test_it_finds_what_is_found_in_the_whole(talk: np.ndarray) -> None:
    expected = find_speech(speech_probabilities([talk]), len(talk) / 16_000, LIVE)
    found = [s for s in all_of(talk, 1600) if s.ended]
    assert len(found) == len(expected)
    for spoken, segment in zip(found, expected, strict=True):
        assert spoken.start_s == pytest.approx(segment.start_s, abs=0.2)
        assert spoken.end_s == pytest.approx(segment.end_s, abs=0.2)


def test_a_waveform_is_that_of_its_place(talk: np.ndarray) -> None:
    for spoken in all_of(talk, 1600):
        first = round(spoken.start_s * 16_000)
        np.testing.assert_array_equal(spoken.waveform, talk[first : first + len(spoken.waveform)])
        assert spoken.end_s - spoken.start_s == pytest.approx(len(spoken.waveform) / 16_000)


def test_an_end_is_known_when_the_pause_is_long_enough(talk: np.ndarray) -> None:
    stream = VoiceStream()
    for i in range(0, len(talk), FRAME_SAMPLES):
        for spoken in stream.push(talk[i : i + FRAME_SAMPLES]):
            if spoken.ended:
                waited = stream.time_s - (spoken.end_s - LIVE.pad_s)
                assert LIVE.min_silence_s <= waited <= LIVE.min_silence_s + 2 * FRAME_SAMPLES / 16_000


def test_what_goes_on_is_reported_each_second(talk: np.ndarray) -> None:
    going = [s for s in all_of(talk, 1600) if not s.ended and s.number == 0]
    lengths = [s.end_s - s.start_s for s in going]
    assert lengths == sorted(lengths)
    assert np.diff(lengths) == pytest.approx(1, abs=0.05)
    assert not [s for s in all_of(talk, 1600, VoiceStream(every_s=100)) if not s.ended]


def test_long_speech_is_cut_and_goes_on() -> None:
    class Always(SpeechProbabilities):
        def push(self, block: np.ndarray) -> np.ndarray:
            return np.ones(len(block) // FRAME_SAMPLES, np.float32)

    stream = VoiceStream(every_s=100)
    stream._probabilities = Always()
    block = np.ones(25 * FRAME_SAMPLES * 32, np.float32)
    found = [s for s in stream.push(block) if s.ended]
    assert [s.number for s in found] == [0, 1]
    assert found[0].end_s == found[1].start_s == pytest.approx(LIVE.max_speech_s, abs=0.05)


def test_memory_does_not_grow_with_silence() -> None:
    stream = VoiceStream()
    for _ in range(100):
        assert list(stream.push(np.zeros(16_000, np.float32))) == []
    assert len(stream._kept) < 16_000
    assert list(stream.end()) == []
