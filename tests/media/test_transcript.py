"""Transcripts: subtitles as the world writes them, the JSON of four recognisers, plain text, and bad files."""

import json
from pathlib import Path

import pysubs2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emofuse.errors import DataError
from emofuse.media.segment import Segment, Word
from emofuse.media.transcript import Transcript, merge_cues, read_transcript

SRT = "1\n00:00:01,000 --> 00:00:02,500\nHello.\n\n2\n00:00:03,000 --> 00:00:04,000\nHow are\nyou?\n"
VTT = """WEBVTT - a title

STYLE
::cue { color: red }

NOTE
not --> spoken

intro
00:01.000 --> 00:04.000 position:10%
<v.loud Roger Bingham>We are <i>in</i> New&nbsp;York</v>

NOTE after

2
00:00:05.000 --> 00:00:06.500
1984
"""
YOUTUBE = """WEBVTT
Kind: captions

00:00:00.160 --> 00:00:02.389 align:start position:0%
\u0020
hello<00:00:00.480><c> every one</c><00:00:01.000><c> welcome</c>

00:00:02.389 --> 00:00:02.399 align:start position:0%
hello every one welcome
\u0020

00:00:02.399 --> 00:00:04.870 align:start position:0%
hello every one welcome
[Music]<00:00:02.639><c> back</c>
"""


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(folder: Path, name: str, content: str | bytes) -> Transcript:
    return read_transcript(put(folder, name, content))


def cue(text: str, start: int = 1, end: int = 2) -> str:
    return f"00:00:{start:02d},000 --> 00:00:{end:02d},000\n{text}\n\n"


def said(folder: Path, *texts: str) -> list[tuple[str | None, str | None]]:
    """Speaker and text of each utterance of cues that follow one another."""
    content = "".join(f"{i + 1}\n{cue(text, i, i + 1)}" for i, text in enumerate(texts))
    return [(s.speaker, s.text) for s in read(folder, "a.srt", content).segments]


# SRT


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_srt_in_any_encoding(tmp_path: Path, encoding: str, newline: str) -> None:
    content = SRT.replace("Hello", "Café – naïve").replace("\n", newline).encode(encoding)
    segments = (Segment(1, 2.5, None, "Café – naïve."), Segment(3, 4, None, "How are you?"))
    assert read(tmp_path, "a.srt", content) == Transcript(segments, "Café – naïve. How are you?")
    assert read(tmp_path, "a.txt", content).segments == segments


def test_srt_of_pysubs2(tmp_path: Path) -> None:
    subs = pysubs2.SSAFile()
    subs += [pysubs2.SSAEvent(start=61_001, end=62_345, text=r"{\i1}One\Ntwo{\i0}")]
    subs += [pysubs2.SSAEvent(start=3_723_004, end=3_724_005, text="1984")]
    for kind in ("srt", "vtt"):
        subs.save(str(tmp_path / f"a.{kind}"))
        assert read_transcript(tmp_path / f"a.{kind}").segments == (
            Segment(61.001, 62.345, None, "One two"),
            Segment(3723.004, 3724.005, None, "1984"),
        )


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [("0:00:01,5", 1.5), ("00:01.250", 1.25), ("00:00:01", 1), ("123:00:00,000", 442_800), ("1:2:3,004", 3723.004)],
)
def test_times_as_programs_write_them(tmp_path: Path, stamp: str, seconds: float) -> None:
    assert read(tmp_path, "a.srt", f"{stamp}-->999:00:00,000  X1:1\nhi").segments[0].start_s == seconds


def test_cues_without_numbers_or_empty_lines_and_with_too_many(tmp_path: Path) -> None:
    times = ["00:00:01,000 --> 00:00:02,000", "00:00:03,000 --> 00:00:04,000"]
    contents = [f"{times[0]}\none\n{times[1]}\ntwo", f"1\n{times[0]}\n\none\n2\n{times[1]}\n\n\ntwo\n\n\n"]
    for content in contents:
        assert [s.text for s in read(tmp_path, "a.srt", content).segments] == ["one", "two"]


def test_cues_out_of_order_are_sorted_and_overlaps_of_a_speaker_cut(tmp_path: Path) -> None:
    content = cue("BOB: three", 5, 9) + cue("ANN: two", 2, 6) + cue("ANN: one", 1, 3) + cue("no --> arrow", 0, 7)
    assert read(tmp_path, "a.srt", content).segments == (
        Segment(0, 7, None, "no --> arrow"),
        Segment(1, 2, "ANN", "one"),
        Segment(2, 6, "ANN", "two"),
        Segment(5, 9, "BOB", "three"),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<i>So</i> {\\an8}<font color='#fff'>long</font> &amp; thanks", "So long & thanks"),
        ("- Hi.\n- Hello.", "Hi. Hello."),
        (">> HI.\n>>> -Ho", "HI. Ho"),
        ("-5 degrees", "-5 degrees"),
        ("[MUSIC]\nreally (laughs\nloudly) yes", "really yes"),
        ("♪ la la ♪\nWell", "Well"),
        ("a < b", "a < b"),
        ("[half open", "[half open"),
    ],
)
def test_what_is_spoken(tmp_path: Path, text: str, expected: str) -> None:
    assert said(tmp_path, text) == [(None, expected)]


@pytest.mark.parametrize("text", ["[MUSIC]", "♪ la\nla ♪", "(laughs)", "...", "", "<i></i>"])
def test_a_cue_without_words_is_left_out(tmp_path: Path, text: str) -> None:
    assert said(tmp_path, "Hi", text) == [(None, "Hi")]


def test_names_in_front_of_a_colon(tmp_path: Path) -> None:
    assert said(tmp_path, "JOHN: Hi.\nDR. WHO: Hello\nthere.") == [("JOHN", "Hi."), ("DR. WHO", "Hello there.")]
    assert said(tmp_path, "[SPEAKER_00]: hi", "SPEAKER_01: ho") == [("SPEAKER_00", "hi"), ("SPEAKER_01", "ho")]
    assert said(tmp_path, "Speaker 2: hi", "speaker90: ho") == [("Speaker 2", "hi"), ("speaker90", "ho")]
    assert said(tmp_path, "Mary Ann: hi", "Bob: ho", "- Mary Ann: so?") == [
        ("Mary Ann", "hi"),
        (None, "Bob: ho"),  # capitalised once: may be the start of a sentence
        ("Mary Ann", "so?"),
    ]


@pytest.mark.parametrize(
    "text",
    ["Remember: no means no.", "I told you: go!", "It is 10:30.", "see http://x.org", "I SAY THIS: STOP", "a: b"],
)
def test_colons_that_follow_no_name(tmp_path: Path, text: str) -> None:
    assert said(tmp_path, text) == [(None, text)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (SRT.replace("02,500", "00,500"), "row 2: starts at 1.000 s and ends at 0.500 s; need start < end"),
        (SRT.replace("00:00:03,000", "00:00:03,000 ->").replace("-> -->", "-->"), ""),
        (SRT.replace("00:00:03,000", "00:00:nan"), "row 6: '00:00:nan --> 00:00:04,000'; need the form"),
        (SRT.replace("00:00:03,000", "-00:00:03,000"), "row 6: '-00:00:03,000 --> "),
        (SRT.replace("00:00:03,000", "00:75:03,000"), "row 6: a time with 75 minutes and 3 seconds"),
        ("Just text.", "no words with times; need cues"),
        ("1\n00:00:01,000 --> 00:00:02,000\n[MUSIC]\n", "no words with times"),
        ("", "empty file"),
        ("\ufeff\r\n", "empty file"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 40, "not a text file"),
        ("1\n00:00:01,000 --> 00:00:02,000\nПривет, как твои дела?".encode("cp1251"), "save it as UTF-8"),
    ],
)
def test_bad_subtitles_are_refused_with_their_row(tmp_path: Path, content: str | bytes, message: str) -> None:
    if not message:
        assert read(tmp_path, "a.srt", content).segments
        return
    with pytest.raises(DataError) as caught:
        read(tmp_path, "a.srt", content)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'a.srt'}: ")
    assert "\n" not in str(caught.value)


# WebVTT


def test_vtt_with_styles_comments_names_and_voices(tmp_path: Path) -> None:
    expected = (Segment(1, 4, "Roger Bingham", "We are in New York"), Segment(5, 6.5, None, "1984"))
    assert read(tmp_path, "a.vtt", VTT).segments == expected
    assert read(tmp_path, "a.txt", "\ufeff" + VTT.replace("\n", "\r\n")).segments == expected
    assert read(tmp_path, "a.vtt", VTT.removeprefix("WEBVTT - a title")).segments == expected


def test_two_voices_of_a_cue_speak_at_once(tmp_path: Path) -> None:
    content = "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ann>Hi\nyou\n<v Bob>Note: hey</v>\n"
    expected = (Segment(1, 2, "Ann", "Hi you"), Segment(1, 2, "Bob", "Note: hey"))
    assert read(tmp_path, "a.vtt", content).segments == expected


def test_youtubes_rolling_captions_count_each_line_once_and_time_the_words(tmp_path: Path) -> None:
    first, second = read(tmp_path, "a.vtt", YOUTUBE).segments
    assert (first.start_s, first.end_s, first.text) == (0.16, 2.389, "hello every one welcome")
    assert first.words == (
        Word("hello", 0.16, 0.48),
        Word("every", 0.48, 0.74),  # two words between two times share what is between
        Word("one", 0.74, 1.0),
        Word("welcome", 1.0, 2.389),
    )
    assert second == Segment(2.399, 4.87, None, "back", (Word("back", 2.639, 4.87),))


# JSON


def test_openai_whisper_and_faster_whisper(tmp_path: Path) -> None:
    segments = [
        {"id": 1, "start": 2.0, "end": 2.0, "text": " Thank you."},  # a repeat at the end of a window
        {
            "start": 0,
            "end": 1.5,
            "text": " Hi there.",
            "words": [
                {"word": " Hi", "start": 0.0, "end": 0.4, "probability": 0.9},
                {"word": " there.", "start": 0.4, "end": 0.4},
            ],
        },
        {"start": 3, "end": 4, "text": " [Music]"},
    ]
    expected = Segment(0, 1.5, None, "Hi there.", (Word("Hi", 0, 0.4), Word("there.", 0.4, 0.4)))
    for content in ({"text": " Hi there.", "segments": segments, "language": "en"}, segments):
        assert read(tmp_path, "a.json", json.dumps(content)) == Transcript((expected,), "Hi there.")


def test_whisperx_with_speakers_and_words_that_could_not_be_aligned(tmp_path: Path) -> None:
    words = [{"word": "In", "start": 1.0, "end": 1.2, "speaker": "SPEAKER_00"}, {"word": "2014"}]
    segment = {"start": 1.0, "end": 2.0, "text": "In 2014", "words": words, "speaker": "SPEAKER_00"}
    content = json.dumps({"segments": [segment], "word_segments": words})
    assert read(tmp_path, "a.json", content).segments == (
        Segment(1, 2, "SPEAKER_00", "In 2014", (Word("In", 1, 1.2),)),
    )


def test_whisper_cpp(tmp_path: Path) -> None:
    offsets = {"from": 320, "to": 11040}
    content = {"transcription": [{"timestamps": {"from": "00:00:00,320"}, "offsets": offsets, "text": " And so"}]}
    assert read(tmp_path, "a.json", json.dumps(content)).segments == (Segment(0.32, 11.04, None, "And so"),)


def test_words_of_openais_service(tmp_path: Path) -> None:
    words = [{"word": "a", "start": 0, "end": 0.5}, {"word": "b", "start": 2, "end": 2.5}]
    alone = read(tmp_path, "a.json", json.dumps({"text": "a b", "words": words})).segments
    assert [(s.start_s, s.end_s, s.text) for s in alone] == [(0, 0.5, "a"), (2, 2.5, "b")]
    both = read(
        tmp_path, "a.json", json.dumps({"words": words, "segments": [{"start": 0, "end": 3, "text": "A, b"}]})
    ).segments
    assert both == (Segment(0, 3, None, "A, b", (Word("a", 0, 0.5), Word("b", 2, 2.5))),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        ('{"start": ' + "9" * 5000 + "}", "not readable as JSON"),
        ("3", "need the JSON of Whisper"),
        ('{"text": "hi"}', "need the JSON of Whisper"),
        ('{"segments": []}', "no words with times"),
        ('{"segments": 3}', "segments is no list"),
        ('{"segments": [3]}', "segments 1: found '3', need an object"),
        ('{"segments": [{"start": NaN, "end": 1, "text": "a"}]}', "segments 1: start is nan"),
        ('{"segments": [{"start": 0, "end": 1e999, "text": "a"}]}', "segments 1: end is inf"),
        ('{"segments": [{"start": -1, "end": 1, "text": "a"}]}', "segments 1: start is -1"),
        ('{"segments": [{"start": 2, "end": 1, "text": "a"}]}', "segments 1: starts at 2.000 s and ends at 1.000 s"),
        ('{"segments": [{"text": "a"}]}', "segments 1: start is None"),
        ('{"segments": [{"start": 0, "end": 1, "text": 3}]}', "segments 1: text and speaker need to be strings"),
        (
            '{"segments": [{"start": 0, "end": 1, "text": "a", "words": [{"word": "a", "start": 1, "end": 0}]}]}',
            "segments 1: words 1: ends at 0.000 s, before its start",
        ),
    ],
)
def test_bad_json(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, "a.json", content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_plain_text_has_no_times(tmp_path: Path) -> None:
    assert read(tmp_path, "a.txt", "One line:\n\n  and (another).\n") == Transcript((), "One line: and (another).")


# Merging


def test_cues_that_continue_a_sentence_are_joined() -> None:
    cues = [
        Segment(0, 1, "A", "I was", (Word("I", 0, 0.4), Word("was", 0.5, 1))),
        Segment(1.2, 2, "A", "there.”", (Word("there.”", 1.2, 2),)),
        Segment(2, 3, "A", "Then"),  # after the end of a sentence
        Segment(3, 4, "B", "what"),  # another speaker
        Segment(4.5, 6, "B", "a day"),  # after a pause
        Segment(6.1, 14.4, "B", "it was"),
        Segment(14.5, 15, "B", "too long now"),  # 10.5 s with the one before
        Segment(14.9, 16, "B", "overlaps"),
        Segment(16, 17, "B"),
    ]
    merged = merge_cues(cues)
    assert merged[0] == Segment(0, 2, "A", "I was there.”", (*cues[0].words, *cues[1].words))
    assert [(s.start_s, s.end_s, s.text) for s in merged[1:]] == [
        (2, 3, "Then"),
        (3, 4, "what"),
        (4.5, 14.4, "a day it was"),
        (14.5, 15, "too long now"),
        (14.9, 16, "overlaps"),
        (16, 17, None),
    ]


def test_words_of_a_part_only_are_not_given_for_the_whole() -> None:
    cues = [Segment(0, 1, None, "I was", (Word("I", 0, 0.4), Word("was", 0.5, 1))), Segment(1, 2, None, "there.")]
    assert merge_cues(cues) == [Segment(0, 2, None, "I was there.")]


FILES = [("a.srt", SRT), ("a.vtt", VTT), ("a.vtt", YOUTUBE)]
FILES += [("a.json", '{"segments": [{"start": 0, "end": 1.5, "text": "Hi", "words": []}, {"start": 2, "end": 3}]}')]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.integers(0, 1000), st.integers(0, 40), st.binary(max_size=6))
def test_a_mutated_file_is_read_or_refused_in_one_line(
    tmp_path: Path, file: tuple[str, str], position: int, cut: int, put_in: bytes
) -> None:
    name, content = file[0], file[1].encode()
    position %= len(content)
    segments, refusal = (), ""
    try:
        segments = read(tmp_path, name, content[:position] + put_in + content[position + cut :]).segments
    except DataError as error:
        refusal = str(error)
    assert refusal == "" or (refusal.startswith(str(tmp_path)) and "\n" not in refusal)
    assert all(0 <= s.start_s < s.end_s and s.text for s in segments)


@pytest.mark.parametrize(
    "filler", ["[", "(", "<", "<a", "{\\", "-", ">", "- ", "A: ", "1:", " ", "<v", "<v" + " " * 99, "00:", "&"]
)
def test_nothing_hangs_on_long_lines(tmp_path: Path, filler: str) -> None:
    long = (filler * 200_000)[:200_000]
    assert read(tmp_path, "a.vtt", f"WEBVTT\n\n00:01.000 --> 00:02.000\nhi\n{long}").segments
    with pytest.raises(DataError, match=r"row 5: '00:00:01,000 -->"):
        read(tmp_path, "a.srt", f"{cue('hi')}\n00:00:01,000 -->{long}x\n")
