"""Sound to measure on: the same every time, and voice activity hears somebody in it."""

from pathlib import Path

import numpy as np
import soundfile

from emofuse.bench.sound import noise, speech_like, write_recording
from emofuse.media.audio import read_audio
from emofuse.media.voice import find_speech, speech_probabilities


def test_somebody_is_heard_to_speak_most_of_the_time() -> None:
    waveform = speech_like(30.0)
    assert waveform.shape == (480_000,)
    assert np.abs(waveform).max() <= 0.31
    segments = find_speech(speech_probabilities([waveform]), 30.0)
    assert len(segments) >= 4
    assert 15 < sum(s.end_s - s.start_s for s in segments) < 29


def test_it_is_the_same_every_time_and_another_for_another_seed() -> None:
    assert np.array_equal(speech_like(2.0, 1), speech_like(2.0, 1))
    assert not np.array_equal(speech_like(2.0, 1), speech_like(2.0, 2))
    assert np.array_equal(noise(2, 0.5), noise(2, 0.5))
    assert noise(2, 0.5).shape == (2, 8000)


def test_a_recording_is_decoded_to_what_was_written(tmp_path: Path) -> None:
    tone = (0.2 * np.sin(2 * np.pi * 300 * np.arange(16_000) / 16_000)).astype(np.float32)
    path = write_recording(tmp_path / "tone.flac", tone)
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.format) == (44_100, 2, "FLAC")
    found = read_audio(path)
    assert abs(len(found) - 16_000) <= 1
    np.testing.assert_allclose(found[500:15_500], tone[500:15_500], atol=0.01)
