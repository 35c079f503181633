"""Segment files: each format, each trap, and that a bad file is refused in one line that names the place."""

from pathlib import Path

import parselmouth
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pympi.Elan import Eaf
from pympi.Praat import TextGrid

from emofuse.errors import DataError
from emofuse.media.annotations import read_segments
from emofuse.media.segment import Segment, Word, assign_words, clip_segments, group_words, parse_seconds, separate

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 5
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "Anna"
        xmin = 0
        xmax = 5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1.25
            text = ""
        intervals [2]:
            xmin = 1.25
            xmax = 3e0
            text = "she said ""no""! 12 times
and left"
        intervals [3]:
            xmin = 3e0
            xmax = 5
            text = "sil"
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 5
        points: size = 1
        points [1]:
            number = 2.5
            mark = "click"
"""
SHORT = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n5\n<exists>\n1\n"IntervalTier"\n"words"\n0\n5\n'
EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2020-01-01T00:00:00Z" FORMAT="3.0" VERSION="3.0">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1250"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="{end}"/>
<TIME_SLOT TIME_SLOT_ID="ts3"/></TIME_ORDER>
<TIER TIER_ID="A_utt" PARTICIPANT="Anna" LINGUISTIC_TYPE_REF="u"><ANNOTATION>
<ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE>I  know</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
<TIER TIER_ID="A_gloss" PARTICIPANT="Anna" PARENT_REF="A_utt" LINGUISTIC_TYPE_REF="g"><ANNOTATION>
<REF_ANNOTATION ANNOTATION_ID="a2" ANNOTATION_REF="a1"><ANNOTATION_VALUE>je sais</ANNOTATION_VALUE>
</REF_ANNOTATION></ANNOTATION></TIER>
<TIER TIER_ID="words" PARTICIPANT="Anna" PARENT_REF="A_utt" LINGUISTIC_TYPE_REF="w"><ANNOTATION>
<ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts3">
<ANNOTATION_VALUE>I</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="u" TIME_ALIGNABLE="true"/>
</ANNOTATION_DOCUMENT>"""
BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbb"><!ENTITY c "&b;&b;">]><a>&c;</a>'


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(folder: Path, name: str, content: str | bytes, recording: str | None = None) -> list[Segment]:
    return read_segments(put(folder, name, content), recording)


# Tables


@pytest.mark.parametrize(
    "content",
    [
        "start_s,end_s,speaker,text\n0.5,1.25,Anna,hello\n2,3,,\n",
        "\ufeffstart;end;speaker;text\r\n0,5;1,25;Anna;hello\r\n2;3;;\r\n",
        "text\tBegin\tEnd\tspeaker\nhello\t.5\t1.25\tAnna\n\n\t2\t3\t\n",
        'speaker,text,start_s,end_s\n,,2,3\nAnna,"hello",0.5,1.25\n',
    ],
)
def test_a_table_with_any_delimiter_and_order(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, "a.csv", content) == [Segment(0.5, 1.25, "Anna", "hello"), Segment(2, 3)]
    assert read(tmp_path, "b.csv", content.encode("utf-16")) == read_segments(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0.5,1.5\n", "row 1: no header with columns start_s and end_s; found '0.5,1.5'"),
        ("start_s,end_s\n", "no segments"),
        ("start_s,end_s\n0,1\nx,2\n", "row 3: start_s is 'x'; need a time"),
        ("start_s,end_s\n0,nan\n", "row 2: end_s is 'nan'; need a time"),
        ("start_s,end_s\n-1,2\n", "row 2: start_s is '-1'"),
        ("start_s,end_s\n0,1e999\n", "row 2: end_s is '1e999'"),
        ("start_s,end_s\n,1\n", "row 2: start_s is ''"),
        ("start_s,end_s\n2,2\n", "row 2: starts at 2.000 s and ends at 2.000 s; need start < end"),
        ("start_s,end_s\n1\n", "row 2: 1 cells, need 2"),
        ('start_s,end_s,text\n1,2,"a\n', "not a readable table"),
        ("  \n", "empty file"),
        ("", "empty file"),
        (b"\x00\x01\x02\xff" * 100, "not a text file"),
        ("start_s,end_s,text\n0,1,Привет как твои дела\n".encode("cp1251"), "save it as UTF-8"),
    ],
)
def test_a_bad_table_is_refused_with_its_row(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, "a.csv", content)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'a.csv'}: ")
    assert "\n" not in str(caught.value)


def test_cp1252_and_utf8_with_a_broken_byte_are_read(tmp_path: Path) -> None:
    table = "start_s,end_s,text\n0,1,très “bien” ça\n"
    assert read(tmp_path, "a.csv", table.encode("cp1252"))[0].text == "très “bien” ça"
    broken = table.encode().replace(b"bien", b"b\xffen")
    assert read(tmp_path, "b.csv", broken)[0].text == "très “b\ufffden” ça"


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_segments(tmp_path / "a.csv")
    with pytest.raises(DataError, match="a folder"):
        read_segments(tmp_path)


# RTTM


def test_rttm_of_one_recording_whatever_it_is_called(tmp_path: Path) -> None:
    content = (
        ";; comment\nSPKR-INFO sample 1 <NA> <NA> <NA> unknown A <NA>\n"
        "SPEAKER sample 1 7.550 0.800 <NA> <NA> B <NA> <NA>\nSPEAKER sample 1 6.690 0.430 <NA> <NA> <NA> <NA>\n"
    )
    expected = [Segment(6.69, 7.12), Segment(7.55, 8.35, "B")]
    assert read(tmp_path, "a.rttm", content, "other.wav") == expected


def test_several_recordings_are_told_apart_by_stem(tmp_path: Path) -> None:
    content = "SPEAKER a.b 1 0 1 <NA> <NA> A <NA> <NA>\nSPEAKER c 1 2 1 <NA> <NA> C <NA> <NA>\n"
    assert read(tmp_path, "x.rttm", content, "folder/a.b.wav") == [Segment(0, 1, "A")]
    assert read(tmp_path, "x.rttm", content, "c") == [Segment(2, 3, "C")]
    with pytest.raises(DataError, match=r"segments of 2 recordings, need the name of one of them: a\.b, c$"):
        read_segments(tmp_path / "x.rttm")
    with pytest.raises(DataError, match=r"none is d\.wav: a\.b, c$"):
        read_segments(tmp_path / "x.rttm", "d.wav")
    table = "source,start_s,end_s\nin/one.mp4,0,1\nin/two.mp4,2,3\n"
    assert read(tmp_path, "x.csv", table, "elsewhere/two.mp4") == [Segment(2, 3)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("SPEAKER a 1 0", "row 1: 4 fields, need 8"),
        ("SPEAKER a 1 x 1 <NA> <NA> A <NA> <NA>", "row 1: onset is 'x'"),
        ("SPEAKER a 1 1 0 <NA> <NA> A <NA> <NA>", "row 1: starts at 1.000 s and ends at 1.000 s"),
        ("LEXEME a 1 1 0 <NA> <NA> A <NA> <NA>", "no segments"),
    ],
)
def test_bad_rttm(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, "a.rttm", line)


# TextGrid


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1"])
def test_a_long_textgrid_in_the_encodings_of_praat(tmp_path: Path, encoding: str) -> None:
    content = LONG.replace("Anna", "Zoë").encode(encoding)
    expected = [Segment(1.25, 3.0, "Zoë", 'she said "no"! 12 times\nand left')]
    assert read(tmp_path, "a.TextGrid", content) == expected
    assert read(tmp_path, "named-otherwise.txt", content) == expected


def test_textgrids_as_praat_itself_saves_them(tmp_path: Path) -> None:
    grid = parselmouth.read(str(put(tmp_path, "in.TextGrid", LONG)))
    for form in ("Save as text file...", "Save as short text file..."):
        parselmouth.praat.call(grid, form, str(tmp_path / "out.TextGrid"))
        assert read_segments(tmp_path / "out.TextGrid") == read_segments(tmp_path / "in.TextGrid")
    parselmouth.praat.call(grid, "Save as binary file...", str(tmp_path / "out.TextGrid"))
    with pytest.raises(DataError, match="a binary TextGrid; save it as a text file"):
        read_segments(tmp_path / "out.TextGrid")
    parselmouth.praat.call(grid, "Save as chronological text file...", str(tmp_path / "out.TextGrid"))
    with pytest.raises(DataError, match="a chronological TextGrid; save it as a text file"):
        read_segments(tmp_path / "out.TextGrid")


def test_a_textgrid_of_pympi(tmp_path: Path) -> None:
    grid = TextGrid(xmax=10)
    grid.add_tier("Anna").add_interval(1.25, 2.5, 'a "b"')
    grid.add_tier("Bob").add_interval(2, 4, "c")
    for mode in ("normal", "short"):
        grid.to_file(str(tmp_path / "a.TextGrid"), mode=mode)
        assert read_segments(tmp_path / "a.TextGrid") == [
            Segment(1.25, 2.5, "Anna", 'a "b"'),
            Segment(2, 4, "Bob", "c"),
        ]


def test_word_tiers_as_forced_aligners_write_them(tmp_path: Path) -> None:
    grid = TextGrid(xmax=10)
    for name in ("Anna - words", "Bob - words", "Anna - phones", "Anna"):
        grid.add_tier(name)
    grid.get_tier("Anna - words").add_interval(1, 1.5, "good")
    grid.get_tier("Anna - words").add_interval(1.5, 2, "day")
    grid.get_tier("Anna - phones").add_interval(1, 2, "g")
    grid.get_tier("Bob - words").add_interval(1, 1.25, "hm")
    grid.get_tier("Bob - words").add_interval(1.75, 2, "yes")
    grid.get_tier("Anna").add_interval(0.5, 2.5, "Good day!")
    grid.to_file(str(tmp_path / "a.TextGrid"))
    assert read_segments(tmp_path / "a.TextGrid") == [
        Segment(0.5, 2.5, "Anna", "Good day!", (Word("good", 1, 1.5), Word("day", 1.5, 2))),
        Segment(1, 1.25, "Bob", "hm", (Word("hm", 1, 1.25),)),  # half a second of silence parts them
        Segment(1.75, 2, "Bob", "yes", (Word("yes", 1.75, 2),)),
    ]


def test_praats_own_tier_of_silences_names_no_speaker(tmp_path: Path) -> None:
    content = SHORT.replace("words", "silences") + '2\n0\n2\n"silent"\n2\n5\n"sounding"\n'
    assert read(tmp_path, "a.TextGrid", content) == [Segment(2, 5)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LONG[:-120], "row 31: the TextGrid ends too early, need a number"),
        (LONG.replace("xmin = 1.25", "xmin = 4"), "tier 'Anna': interval 2: starts at 4.000 s and ends at 3.000 s"),
        (LONG.replace("xmin = 1.25", "xmin = -1"), "tier 'Anna': interval 2: xmin is '-1'"),
        (LONG.replace("xmin = 1.25", "xmin = 1,25"), "tier 'Anna': interval 2: xmin is '1,25'"),
        (LONG.replace("xmin = 1.25", "xmin = --undefined--"), "row 22: found .*need a number"),
        (LONG.replace("size = 3", "size = 99999999999"), "need a number"),
        (LONG.replace('"TextGrid"', '"Pitch 1"'), "a Praat file, but no TextGrid"),
        (LONG.replace("<exists>", "<absent>"), "no segments"),
    ],
)
def test_a_bad_textgrid(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, "a.TextGrid", content)
    assert "\n" not in str(caught.value)


# ELAN


def test_elan_tiers_are_speakers_and_dependent_tiers_are_not(tmp_path: Path) -> None:
    expected = [Segment(1.25, 2.345, "Anna", "I know")]
    assert read(tmp_path, "a.eaf", EAF.format(end=2345)) == expected
    assert read(tmp_path, "named-otherwise.xml", "\ufeff" + EAF.format(end=2345)) == expected
    russian = EAF.format(end=2345).replace("UTF-8", "windows-1251").replace("I  know", "я знаю")
    assert read(tmp_path, "a.eaf", russian.encode("cp1251"))[0].text == "я знаю"


def test_an_elan_file_of_pympi_with_words(tmp_path: Path) -> None:
    eaf = Eaf()
    eaf.add_tier("Anna")
    eaf.add_annotation("Anna", 1000, 2500, "hi there")
    eaf.add_annotation("Anna", 3000, 3700, "")
    eaf.add_tier("Anna - words", parent="Anna")
    eaf.add_annotation("Anna - words", 1000, 1400, "hi")
    eaf.add_annotation("Anna - words", 1400, 2500, "there")
    eaf.to_file(str(tmp_path / "a.eaf"))
    assert read_segments(tmp_path / "a.eaf") == [
        Segment(1, 2.5, "Anna", "hi there", (Word("hi", 1, 1.4), Word("there", 1.4, 2.5))),
        Segment(3, 3.7, "Anna"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, "not a readable ELAN file .declares a document type"),
        (BOMB.encode("utf-16"), "declares a document type"),
        (EAF.format(end=1250), "tier 'A_utt': annotation 1: starts at 1.250 s and ends at 1.250 s"),
        (EAF.format(end="x"), "tier 'A_utt': annotation 1: its end is 'x'"),
        (EAF.format(end="9" * 5000), "its end is '999"),
        (EAF.format(end=2000).replace('REF2="ts2"', 'REF2="ts9"'), "its end is None"),
        (EAF.format(end=2000)[:700], "not a readable ELAN file .*line"),
        (EAF.format(end=2000).replace("UTF-8", "klingon"), "not a readable ELAN file"),
        ("<html></html>", "not an ELAN file, its element is 'html'"),
        ("<a>" * 100_000, "not a readable ELAN file"),
    ],
)
def test_a_bad_elan_file(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, "a.eaf", content)
    assert "\n" not in str(caught.value)


# What the readers share


def test_clipping_to_the_length_of_the_recording() -> None:
    words = (Word("a", 8, 9.5), Word("b", 9.9, 10.6))
    segments = [
        Segment(12, 13),
        Segment(8, 11, "A", "a b", words),
        Segment(1, 1.01),
        Segment(0.2, 0.3),
        Segment(9, 10.4),
        Segment(9.95, 12),
    ]
    kept, problems = clip_segments(segments, 10.0)
    assert kept == [
        Segment(8, 10, "A", "a b", (Word("a", 8, 9.5), Word("b", 9.9, 10))),
        Segment(0.2, 0.3),
        Segment(9, 10),
    ]
    assert problems == [
        "segment 12.000-13.000 s: starts beyond the end at 10.000 s, left out",
        "segment 8.000-11.000 s: reaches over the end at 10.000 s, cut there",
        "segment 1.000-1.010 s: 0.010 s long, need 0.1 s, left out",
        "segment 9.950-12.000 s: 0.050 s long, need 0.1 s, left out",
    ]


def test_overlaps_of_one_speaker_are_removed_and_those_of_two_kept() -> None:
    segments = [
        Segment(2, 3, "A", "two"),
        Segment(0, 2.5, "A", "one", (Word("one", 2.2, 2.5),)),
        Segment(1, 2, "B", "between"),
        Segment(2.1, 2.2, "A", "within"),
        Segment(1.5, 1.8, None, "x"),
        Segment(1.5, 1.9, None, "y"),
    ]
    assert separate(segments) == [
        Segment(0, 2, "A", "one", (Word("one", 2, 2),)),
        Segment(1, 2, "B", "between"),
        Segment(1.5, 1.8, None, "x"),
        Segment(1.5, 1.9, None, "y"),
        Segment(2, 3, "A", "two within"),
    ]


def test_words_go_to_the_segment_that_holds_their_middle() -> None:
    segments = [Segment(2, 3, "B"), Segment(0, 2, "A", "known")]
    words = [Word("late", 5, 6), Word("c", 1.9, 2.3), Word("b", 1.6, 2.2), Word("a", 0.5, 0.5)]
    assert assign_words(segments, words) == [
        Segment(0, 2, "A", "known", (Word("a", 0.5, 0.5), Word("b", 1.6, 2.2))),
        Segment(2, 3, "B", "c", (Word("c", 1.9, 2.3),)),
    ]


def test_words_in_a_pause_go_to_the_nearest_segment_in_reach() -> None:
    segments = [Segment(0, 1, "A"), Segment(2, 3, "B")]
    words = [Word("a", 1.1, 1.3), Word("b", 1.6, 1.8), Word("edge", 1.5, 1.5), Word("far", 3.4, 3.8)]
    found = assign_words(segments, words, reach_s=0.5)
    assert [s.text for s in found] == ["a", "b"]
    assert [s.text for s in assign_words(segments, words)] == [None, None]


def test_words_alone_make_utterances_at_pauses() -> None:
    words = [Word("c", 2, 2.5), Word("a", 0, 0.5), Word("b", 0.9, 1.5), Word("no length", 9, 9)]
    assert [(s.start_s, s.end_s, s.text) for s in group_words(words)] == [(0, 1.5, "a b"), (2, 2.5, "c")]


@pytest.mark.parametrize("value", [None, True, [], "1 2", "1:30", float("nan"), -0.001, 10**400, "9" * 9999])
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(DataError, match=r"^here: start is .{1,60}; need a time, a number from 0 on$"):
        parse_seconds(value, "here", "start")


FILES = [
    ("a.csv", b"start_s,end_s,text\n0,1,a\n2,3,b\n"),
    ("a.rttm", b"SPEAKER a 1 0 1 <NA> <NA> A <NA> <NA>\n"),
    ("a.TextGrid", LONG.encode()),
    ("a.TextGrid", (SHORT + '2\n0\n2\n"a"\n2\n5\n"b"\n').encode("utf-16")),
    ("a.eaf", EAF.format(end=2345).encode()),
]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.integers(0, 2000), st.integers(0, 60), st.binary(max_size=6))
@example(FILES[0], 0, 0, b"\xff\xfe")
def test_a_mutated_file_is_read_or_refused_in_one_line(
    tmp_path: Path, file: tuple[str, bytes], position: int, cut: int, put_in: bytes
) -> None:
    name, content = file
    position %= len(content)
    segments, refusal = [], ""
    try:
        segments = read(tmp_path, name, content[:position] + put_in + content[position + cut :])
    except DataError as error:
        refusal = str(error)
    assert refusal == "" or (refusal.startswith(str(tmp_path)) and "\n" not in refusal)
    assert all(0 <= s.start_s < s.end_s and s.text != "" for s in segments)


def test_real_rttm(corpora_dir: Path) -> None:
    segments = read_segments(corpora_dir / "clips" / "two-speakers.rttm", "two-speakers.wav")
    assert segments[0] == Segment(6.69, 7.12, "speaker90")
    assert {s.speaker for s in segments} == {"speaker90", "speaker91"}
