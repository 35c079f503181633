"""Where utterances come from, in which order of precedence, and what becomes of what does not fit."""

import json
from pathlib import Path

import numpy as np
import pytest

from emofuse.errors import DataError
from emofuse.media.audio import SAMPLE_RATE, read_audio
from emofuse.media.segment import Segment, Word
from emofuse.media.sound import ArraySound
from emofuse.recording.utterances import REACH_S, Sources, find_utterances

SRT = """1
00:00:00,500 --> 00:00:02,000
ANNA: One two three.

2
00:00:05,000 --> 00:00:06,000
BEN: Four.
"""
CSV = "start_s,end_s,speaker\n0.2,3,A\n4,8,B\n"


class Reader:
    """Stands where a speech recogniser stands: hears a word every second."""

    def words(self, waveform: np.ndarray) -> list[Word]:
        n = int(len(waveform) / SAMPLE_RATE)
        return [Word(f"w{i}", i + 0.4, i + 0.6) for i in range(n)]


@pytest.fixture(scope="module")
def talk(example_clip: Path) -> ArraySound:
    """The example clip twice, two seconds apart: about ten seconds."""
    voice = read_audio(example_clip)
    gap = np.zeros(2 * SAMPLE_RATE, np.float32)
    return ArraySound(np.concatenate([gap, voice, gap, voice, gap]))


def found(sound, sources: Sources, duration_s: float | None = None, seen: bool = False):
    return find_utterances("talk", sound, duration_s or sound.duration_s, sources, seen)


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content)
    return path


def test_voice_activity_finds_them_where_nothing_is_given(talk):
    result = found(talk, Sources())
    assert len(result.segments) == 2
    assert result.voiced
    assert all(s.text is None and s.speaker is None for s in result.segments)


def test_annotated_segments_come_first_and_take_the_words_of_a_transcript(talk, tmp_path):
    sources = Sources(write(tmp_path, "a.csv", CSV), write(tmp_path, "a.srt", SRT))
    a, b = found(talk, sources).segments
    assert (a.start_s, a.end_s, a.speaker, a.text) == (0.2, 3, "A", "One two three.")
    assert (b.speaker, b.text, b.words) == ("B", "Four.", ())


def test_a_timed_transcript_is_the_utterances(talk, tmp_path):
    a, b = found(talk, Sources(transcript=write(tmp_path, "a.srt", SRT))).segments
    assert (a.start_s, a.end_s, a.speaker, a.text) == (0.5, 2.0, "ANNA", "One two three.")
    assert b.speaker == "BEN"


def test_words_with_times_keep_them(talk, tmp_path):
    words = [{"word": " One", "start": 0.5, "end": 0.9}, {"word": " two.", "start": 1.0, "end": 1.4}]
    whisper = {"segments": [{"start": 0.5, "end": 1.4, "text": " One two.", "words": words}]}
    (a,) = found(talk, Sources(transcript=write(tmp_path, "a.json", json.dumps(whisper)))).segments
    assert a.words == (Word("One", 0.5, 0.9), Word("two.", 1.0, 1.4))


@pytest.mark.parametrize("name", ["text", "file"])
def test_words_without_times_are_those_of_the_whole(talk, tmp_path, name):
    sources = Sources(text="Hello.") if name == "text" else Sources(transcript=write(tmp_path, "a.txt", "Hello."))
    (a,) = found(talk, sources).segments
    assert a == Segment(0.0, talk.duration_s, None, "Hello.")


def test_whole_is_one_utterance_with_all_words(talk, tmp_path):
    (a,) = found(talk, Sources(transcript=write(tmp_path, "a.srt", SRT), whole=True)).segments
    assert (a.start_s, a.end_s) == (0, talk.duration_s)
    assert a.text == "One two three. Four."


def test_recognition_says_what_voice_activity_found(talk):
    progress: list[float] = []
    sources = Sources(recogniser=Reader())  # type: ignore[arg-type]
    result = find_utterances("talk", talk, talk.duration_s, sources, on_progress=progress.append)
    for segment in result.segments:
        assert segment.text is not None
        middles = [(w.start_s + w.end_s) / 2 for w in segment.words]
        assert all(segment.start_s - REACH_S < m < segment.end_s + REACH_S for m in middles)
    assert progress


class EarlyReader:
    """Places words as Whisper does: some begin in the pause before, where nobody speaks."""

    def words(self, waveform: np.ndarray) -> list[Word]:
        return [Word("hello", 0.5, 1.0), Word("ask", 2.9, 4.5), Word("not", 4.5, 5.0), Word("noise", 2.2, 2.6)]


def test_no_word_is_lost_whose_time_is_a_little_off(tmp_path):
    path = write(tmp_path, "a.csv", "start_s,end_s\n0,1.5\n4,8\n")
    sources = Sources(path, recogniser=EarlyReader())  # type: ignore[arg-type]
    segments = found(ArraySound(np.ones(10 * SAMPLE_RATE)), sources).segments
    assert [s.text for s in segments] == ["hello", "ask not"]


def test_utterances_that_begin_together_each_get_their_words(tmp_path):
    path = write(tmp_path, "a.csv", "start_s,end_s,speaker\n0,1,A\n0,3,B\n")
    a, b = found(ArraySound(np.ones(3 * SAMPLE_RATE)), Sources(path, recogniser=Reader())).segments  # type: ignore[arg-type]
    assert (a.text, b.text) == ("w0", "w1 w2")


def test_words_of_a_transcript_that_lie_in_no_segment_are_said(talk, tmp_path):
    path = write(tmp_path, "a.csv", "start_s,end_s,speaker\n0.2,3,A\n")
    result = found(talk, Sources(path, write(tmp_path, "a.srt", SRT)))
    assert result.problems == [f"{tmp_path / 'a.srt'}: 1 of its words lie in no segment, left out"]


def test_of_many_segments_left_out_some_are_named(talk, tmp_path):
    path = write(tmp_path, "a.csv", CSV + "".join(f"{t},{t + 1},C\n" for t in range(500, 600)))
    problems = found(talk, Sources(path)).problems
    assert len(problems) == 4
    assert problems[-1] == f"{path}: and 97 segments more"


def test_recognition_leaves_given_words_alone(talk, tmp_path):
    sources = Sources(transcript=write(tmp_path, "a.srt", SRT), recogniser=Reader())  # type: ignore[arg-type]
    assert [s.text for s in found(talk, sources).segments] == ["One two three.", "Four."]


def test_what_lies_beyond_the_end_is_left_out_and_said(talk, tmp_path):
    path = write(tmp_path, "a.csv", CSV + "500,501,C\n")
    result = found(talk, Sources(path))
    assert len(result.segments) == 2
    assert len(result.problems) == 1
    assert result.problems[0].startswith(f"{path}: segment 500.000-501.000 s: starts beyond the end")


def test_nothing_within_the_recording_is_an_error(talk, tmp_path):
    path = write(tmp_path, "a.csv", "start_s,end_s\n500,501\n")
    with pytest.raises(DataError, match=r"a\.csv: nothing in it lies within the recording of .* s \(segment 500"):
        found(talk, Sources(path))


def test_a_short_recording_is_one_utterance(example_clip):
    voice = read_audio(example_clip)
    gap = np.zeros(round(0.7 * SAMPLE_RATE), np.float32)
    sound = ArraySound(np.concatenate([voice[: len(voice) // 2], gap, voice[len(voice) // 2 :]]))
    assert sound.duration_s < 6
    assert len(found(sound, Sources()).segments) == 1


def test_a_short_sound_that_is_no_speech_is_one_doubtful_utterance():
    tone = ArraySound(0.1 * np.sin(np.arange(2 * SAMPLE_RATE) / 20))
    result = found(tone, Sources())
    assert result.segments == [Segment(0.0, 2.0)]
    assert not result.voiced
    assert result.problems == ["no speech found, taken as a whole"]


def test_silence_and_long_noise_have_no_utterance():
    assert found(ArraySound(np.zeros(2 * SAMPLE_RATE)), Sources()).problems == ["silent"]
    noise = ArraySound(0.05 * np.random.default_rng(0).standard_normal(20 * SAMPLE_RATE))
    result = found(noise, Sources())
    assert result.segments == []
    assert "no speech found" in result.problems[0]


def test_a_picture_without_speech_is_judged_stretch_by_stretch():
    result = found(None, Sources(), duration_s=12.0, seen=True)
    assert [(s.start_s, s.end_s) for s in result.segments] == [(0, 6), (6, 12)]
    silent = found(ArraySound(np.zeros(4 * SAMPLE_RATE)), Sources(), seen=True)
    assert [(s.start_s, s.end_s) for s in silent.segments] == [(0, 4)]
    assert silent.voiced  # as a video without sound
