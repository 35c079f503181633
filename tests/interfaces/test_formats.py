"""Every format is opened by a program that owns it, and read back by our own readers."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import parselmouth
import pysubs2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pympi.Elan import Eaf
from pympi.Praat import TextGrid
from rich.cells import cell_len
from rich.console import Console

from emofuse.errors import DataError
from emofuse.interfaces.formats import (
    COLUMNS,
    FORMATS,
    write_csv,
    write_eaf,
    write_json,
    write_srt,
    write_text,
)
from emofuse.interfaces.table import text_table
from emofuse.media.annotations import read_segments
from emofuse.media.segment import Segment
from emofuse.media.transcript import read_transcript
from emofuse.prediction import Prediction, Timeline, rows

P = Prediction(
    source="talks/a talk.mp4",
    start_s=0.512,
    end_s=3.2,
    speaker="Anna",
    text='She said "no", then left.',
    label="happy",
    probabilities={"happy": 0.667, "sad": 0.333},
    modalities=("speech", "text"),
    missing=("visual",),
    confidence=0.667,
    unsure=False,
    weights={"speech": 0.4, "text": 0.6},
)
TALK = Timeline(
    "talks/a talk.mp4",
    12.5,
    (
        P,
        replace(P, start_s=2.9, end_s=5.5, text="overlaps myself", label="sad"),
        replace(P, start_s=3.2, end_s=4.0, speaker="Bob", text="Café 你好 <b> & ö", confidence=0.412, unsure=True),
        replace(P, start_s=6.0, end_s=7.001, speaker="Bob", text=None, label="neutral"),
        replace(P, start_s=8.0, end_s=9.0, speaker=None, text="Note: nobody"),
        replace(P, start_s=11.25, end_s=12.5, speaker=None, text=None),
    ),
)
PLACES = [(p.start_s, p.end_s, p.speaker) for p in TALK]
EMPTY = Timeline("a.wav", 2.0, ())
TIMED = {name: FORMATS[name] for name in ("textgrid", "eaf", "srt")}


def saved(folder: Path, name: str, timeline: Timeline) -> Path:
    ending, write = FORMATS[name]
    path = folder / f"a{ending}"
    path.write_bytes(write(timeline).encode("utf-8"))
    return path


def places(segments: list[Segment]) -> list[tuple[float, float, str | None]]:
    return [(s.start_s, s.end_s, s.speaker) for s in segments]


# JSON and csv


def test_json_lines_hold_the_dictionaries() -> None:
    lines = write_json([TALK, EMPTY, TALK]).splitlines()
    assert [json.loads(line) for line in lines] == [p.to_dict() for p in (*TALK, *TALK)]
    assert write_json(TALK).splitlines() == lines[:6]
    assert write_json(EMPTY) == ""


def test_json_of_a_file_name_that_is_not_utf8() -> None:
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    line = write_json(Timeline(name, 1.0, (replace(P, source=name),)))
    assert json.loads(line.encode("utf-8"))["source"] == name


def test_csv_is_rfc_4180_and_the_rows_of_the_predictions() -> None:
    text = write_csv([TALK, EMPTY])
    assert text.endswith("\r\n")
    assert text.count("\r\n") == text.count("\n") == 7
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    expected = [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows(TALK)]
    assert table == expected
    frame = pd.read_csv(io.StringIO(text))
    assert list(frame["end_s"]) == [p.end_s for p in TALK]
    assert list(frame["unsure"]) == [p.unsure for p in TALK]
    assert tuple(frame.columns[: len(COLUMNS)]) == COLUMNS == tuple(rows(TALK)[0])[: len(COLUMNS)]


def test_csv_of_files_with_other_classes_keeps_them_together() -> None:
    other = replace(P, probabilities={"calm": 1.0}, missing=(), modalities=("visual",), weights={"visual": 1.0})
    text = write_csv([Timeline("a", 4, (P,)), Timeline("b", 4, (other,))])
    assert text.splitlines()[0].split(",")[10:] == ["p_happy", "p_sad", "p_calm", "w_speech", "w_text", "w_visual"]
    assert write_csv(EMPTY) == ",".join(COLUMNS) + "\r\n"


# TextGrid


def test_praat_opens_the_textgrid(tmp_path: Path) -> None:
    grid = parselmouth.read(str(saved(tmp_path, "textgrid", TALK)))
    call = parselmouth.praat.call
    names = [call(grid, "Get tier name...", i + 1) for i in range(call(grid, "Get number of tiers"))]
    anna = ["Anna - emotion", "Anna - text", "Anna - confidence"]
    assert names == [
        *anna,
        *(f"{name} 2" for name in anna),  # she speaks over herself
        "Bob - emotion",
        "Bob - text",
        "Bob - confidence",
        "emotion",
        "text",
        "confidence",
    ]
    assert (grid.xmin, grid.xmax) == (0, 12.5)
    bob = [call(grid, "Get label of interval...", 7, i + 1) for i in range(call(grid, "Get number of intervals...", 7))]
    assert bob == ["", "happy", "", "neutral", ""]
    assert call(grid, "Get start time of interval...", 7, 4) == 6.0
    assert call(grid, "Get end time of interval...", 7, 4) == 7.001
    assert call(grid, "Get label of interval...", 2, 2) == 'She said "no", then left.'
    assert call(grid, "Get label of interval...", 8, 2) == "Café 你好 <b> & ö"
    assert call(grid, "Get label of interval...", 9, 2) == "0.41"


def test_pympi_opens_the_textgrid_and_every_tier_covers_all_of_it(tmp_path: Path) -> None:
    grid = TextGrid(str(saved(tmp_path, "textgrid", TALK)))
    for tier in grid.get_tiers():
        intervals = tier.intervals
        assert intervals[0][0] == 0
        assert intervals[-1][1] == 12.5
        assert [i[1] for i in intervals[:-1]] == [i[0] for i in intervals[1:]]


@pytest.mark.parametrize("timeline", [EMPTY, Timeline("a.wav", 0.0, ()), Timeline("a.wav", 1.0, (P,))])
def test_textgrid_of_nothing_and_beyond_the_stated_end(tmp_path: Path, timeline: Timeline) -> None:
    grid = parselmouth.read(str(saved(tmp_path, "textgrid", timeline)))
    assert grid.xmax == pytest.approx(max(timeline.duration_s, 3.2 if timeline else 1e-6))


# ELAN


def test_pympi_opens_the_elan_file(tmp_path: Path) -> None:
    eaf = Eaf(str(saved(tmp_path, "eaf", TALK)))
    assert eaf.get_annotation_data_for_tier("Anna - emotion") == [(512, 3200, "happy")]
    assert eaf.get_annotation_data_for_tier("Anna - emotion 2") == [(2900, 5500, "sad")]
    assert [a[:3] for a in eaf.get_ref_annotation_data_for_tier("Bob - text")] == [(3200, 4000, "Café 你好 <b> & ö")]
    assert [a[2] for a in eaf.get_ref_annotation_data_for_tier("Bob - confidence")] == ["0.41", "0.67"]
    assert eaf.get_parameters_for_tier("Bob - text")["PARENT_REF"] == "Bob - emotion"
    assert {eaf.get_parameters_for_tier(t).get("PARTICIPANT") for t in eaf.get_tier_names()} == {"Anna", "Bob", None}
    assert eaf.get_full_time_interval() == (512, 12_500)


def test_the_elan_file_keeps_to_its_schema(tmp_path: Path) -> None:
    root = ElementTree.parse(saved(tmp_path, "eaf", TALK)).getroot()
    order = ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "CONSTRAINT"]
    tags = [child.tag for child in root]
    assert tags == sorted(tags, key=order.index)
    assert {"AUTHOR", "DATE", "FORMAT", "VERSION"} <= set(root.keys())
    times = [int(slot.get("TIME_VALUE", "")) for slot in root.iter("TIME_SLOT")]
    assert times == sorted(set(times))
    annotations = [*root.iter("ALIGNABLE_ANNOTATION"), *root.iter("REF_ANNOTATION")]
    identifiers = {a.get("ANNOTATION_ID") for a in annotations}
    assert len(identifiers) == len(annotations)
    slots = {slot.get("TIME_SLOT_ID") for slot in root.iter("TIME_SLOT")}
    assert {a.get(key) for a in annotations[:6] for key in ("TIME_SLOT_REF1", "TIME_SLOT_REF2")} <= slots
    assert {a.get("ANNOTATION_REF") for a in root.iter("REF_ANNOTATION")} <= identifiers
    kinds = {kind.get("LINGUISTIC_TYPE_ID") for kind in root.iter("LINGUISTIC_TYPE")}
    assert {tier.get("LINGUISTIC_TYPE_REF") for tier in root.iter("TIER")} <= kinds
    names = [tier.get("TIER_ID") for tier in root.iter("TIER")]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("source", "folder", "link", "kind"),
    [
        ("talks/a talk.mp4", None, "./talks/a talk.mp4", "video/mp4"),
        ("talks/a.WAV", Path("talks"), "./a.WAV", "audio/x-wav"),
        ("talks/a.xyz", Path("out"), "./../talks/a.xyz", "unknown"),
        ("array", None, None, None),
        ("https://x.org/a.mp4", None, None, None),
    ],
)
def test_the_recording_is_linked_from_where_the_elan_file_lies(
    source: str, folder: Path | None, link: str | None, kind: str | None
) -> None:
    media = ElementTree.fromstring(write_eaf(replace(TALK, source=source), folder)).find("HEADER/MEDIA_DESCRIPTOR")
    found = (None, None) if media is None else (media.get("RELATIVE_MEDIA_URL"), media.get("MIME_TYPE"))
    assert found == (link, kind)


# SRT


def test_pysubs2_opens_the_srt(tmp_path: Path) -> None:
    subs = pysubs2.load(str(saved(tmp_path, "srt", TALK)))
    assert [(e.start, e.end) for e in subs] == [(round(1000 * p.start_s), round(1000 * p.end_s)) for p in TALK]
    assert [e.text for e in subs][:2] == [
        '[HAPPY 67%] Anna: She said "no", then left.',
        "[SAD 67%] Anna: overlaps myself",
    ]
    assert [e.text for e in subs][3:] == ["[NEUTRAL 67%] Bob:", "[HAPPY 67%] - Note: nobody", "[HAPPY 67%]"]
    assert "[HAPPY? 41%] Bob: Café" in write_srt(TALK)


def test_times_of_srt_beyond_a_day() -> None:
    long = Timeline("a.wav", 1e6, (replace(P, start_s=360_000.0, end_s=363_723.004),))
    assert "\n100:00:00,000 --> 101:02:03,004\n" in write_srt(long)


# Round trips


def test_textgrid_elan_and_csv_come_back_as_they_were(tmp_path: Path) -> None:
    for name in ("textgrid", "eaf", "csv"):
        segments = read_segments(saved(tmp_path, name, TALK))
        assert places(segments) == PLACES
        assert [s.text for s in segments] == [p.text for p in TALK]


def test_srt_comes_back_but_for_overlaps_of_one_speaker(tmp_path: Path) -> None:
    apart = replace(TALK, predictions=(P, *TALK.predictions[2:]))
    segments = read_transcript(saved(tmp_path, "srt", apart)).segments
    assert places(list(segments)) == [PLACES[0], *PLACES[2:]]
    # What looks like a tag in subtitles is one.
    assert [s.text for s in segments] == [P.text, "Café 你好 & ö", None, "Note: nobody", None]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(100, 9_000), st.sampled_from(["A", "B c", None]), TEXTS)),
    st.sampled_from(["textgrid", "eaf"]),
)
def test_any_timeline_comes_back(tmp_path: Path, drawn: list[tuple[int, int, str | None, str]], name: str) -> None:
    predictions = sorted(
        (replace(P, start_s=s / 1000, end_s=(s + n) / 1000, speaker=who, text=text) for s, n, who, text in drawn),
        key=lambda p: (p.start_s, p.end_s),
    )
    path = saved(tmp_path, name, Timeline("a.wav", 30.0, tuple(predictions)))
    if not predictions:
        with pytest.raises(DataError, match="no segments"):
            read_segments(path)
        return
    # Sorted: the order of speakers who start and end at one time is not kept.
    back = sorted(places(read_segments(path)), key=repr)
    assert back == sorted([(p.start_s, p.end_s, p.speaker) for p in predictions], key=repr)


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize("end_s", [1.0, 1.0000001])
def test_an_utterance_without_length_is_refused(name: str, end_s: float) -> None:
    flat = Timeline("a.wav", 3.0, (replace(P, start_s=1.0, end_s=end_s),))
    with pytest.raises(DataError, match=r"^a\.wav: an utterance from 1 s to 1 s; use json or csv$"):
        FORMATS[name][1](flat)


@pytest.mark.parametrize("name", FORMATS)
def test_control_characters_break_no_format(tmp_path: Path, name: str) -> None:
    nasty = "a\x00b\x1b[31mc\r\n\n2\n00:00:09,000 --> 00:00:10,000\nd\ue000\ufffe\ud800"
    timeline = Timeline("a\ud800.wav", 5.0, (replace(P, source="a.wav", text=nasty, speaker="A:\nB\x1b"),))
    path = saved(tmp_path, name, timeline)
    if name == "textgrid":
        assert parselmouth.read(str(path)).xmax == 5
    elif name == "eaf":
        assert len(Eaf(str(path)).get_tier_names()) == 3
    elif name == "srt":
        assert len(read_transcript(path).segments) == 1
    elif name == "text":
        assert "\x1b" not in path.read_text(encoding="utf-8")


# The table


def printed(timeline: Timeline, width: int, encoding: str = "utf-8", **options: bool) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    text_table(timeline, Console(file=stream, width=width, **options))
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_and_says_everything(width: int) -> None:
    lines = printed(TALK, width).splitlines()
    assert "\x1b" not in "".join(lines)
    assert all(cell_len(line) <= width for line in lines)
    assert [line.rstrip() for line in lines[:3]] == [
        "talks/a talk.mp4",
        "0:12.5, 6 utterances, from speech and text, without visual",
        "time             speaker  emotion             text",
    ]
    assert lines[3].rstrip() == '0:00.5 - 0:03.2  Anna     happy    67%  ████  She said "no", then left.'
    assert lines[5].rstrip() == "0:03.2 - 0:04.0  Bob      happy?   41%  ██▌   Café 你好 <b> & ö"
    assert lines[-1] == "? unsure: below the threshold, or no speech found"


def test_the_table_shortens_the_text_and_names_what_each_utterance_rests_on() -> None:
    other = replace(P, modalities=("speech",), missing=("visual", "text"), text="[red]long[/red] " * 9, start_s=1.0)
    lines = printed(Timeline("a.wav", 5.0, (P, other)), 80).splitlines()
    assert lines[1] == "0:05.0, 2 utterances"
    assert lines[4].startswith("0:01.0 - 0:03.2  Anna     happy    67%  ████  S--   [red]long[/red] [red]")
    assert lines[4].rstrip().endswith("…")
    assert lines[5] == "S speech, V visual, T text, - not there"


def test_the_table_in_an_old_or_narrow_console_and_in_colour() -> None:
    ascii_only = printed(replace(TALK, predictions=(P,)), 60, "ascii")
    assert ascii_only.isascii()
    assert "67%  ####" in ascii_only
    assert all("67%" in line for line in printed(TALK, 40).splitlines() if "happy " in line)
    assert "\x1b[33mhappy" in printed(TALK, 80, force_terminal=True)


def test_the_table_of_nothing_and_of_hours() -> None:
    assert printed(EMPTY, 80) == "a.wav\n0:02.0, 0 utterances\n"
    long = Timeline("a.wav", 10_800.0, (replace(P, start_s=7199.96, end_s=7203.0, speaker=None, text=None),))
    lines = write_text(long).splitlines()
    assert lines[1].startswith("3:00:00.0, 1 utterance, from")
    assert lines[3].rstrip() == "2:00:00.0 - 2:00:03.0  happy    67%  ████"
