import base64
import io
import json
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile as sf

from emofuse.errors import ConfigError, DataError
from emofuse.interfaces import report
from emofuse.interfaces.report import write_report
from emofuse.media.audio import read_audio
from emofuse.prediction import Moment, Prediction, Timeline, WordEvidence

ATTACK = "</script><img src=x onerror=alert(1)><!-- & {{data}} \u2028"


class Page(HTMLParser):
    """Elements of a page: (tag, attributes, text directly within)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.errors: list[str] = []
        self.open: list[int] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))
        if tag not in ("meta", "link", "input", "path", "rect", "br"):
            self.open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        if self.elements[self.open.pop()][0] != tag:
            self.errors.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open:
            self.elements[self.open[-1]][2].append(data)

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attrs, "".join(text)) for name, attrs, text in self.elements if name == tag]

    def text(self, identity: str) -> str:
        return next("".join(text) for _, attrs, text in self.elements if attrs.get("id") == identity)

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.text("data"))


def prediction(source: str = "talk.wav", start_s: float = 0.5, **changes: Any) -> Prediction:
    values: dict[str, Any] = {
        "source": source,
        "start_s": start_s,
        "end_s": start_s + 1.0,
        "speaker": "Ann",
        "text": "oh no",
        "label": "sad",
        "probabilities": {"angry": 0.1, "happy": 0.05, "neutral": 0.25, "sad": 0.6},
        "modalities": ("speech", "text"),
        "missing": ("visual",),
        "confidence": 0.6,
        "unsure": False,
        "weights": {"speech": 0.7, "text": 0.3},
        "by_modality": {"speech": {"angry": 0.2, "happy": 0.1, "neutral": 0.2, "sad": 0.5}},
        "words": (WordEvidence("oh", start_s, start_s + 0.4, 0.8), WordEvidence("no", None, None, 0.2)),
        "moments": (Moment(start_s, start_s + 0.5, 0.9), Moment(start_s + 0.5, start_s + 1.0, 0.1)),
    }
    return Prediction(**values | changes)


def timeline(source: str = "talk.wav", n: int = 2, duration_s: float = 4.0, **changes: Any) -> Timeline:
    return Timeline(source, duration_s, tuple(prediction(source, 0.5 + 1.5 * i, **changes) for i in range(n)))


def wav(path: Path, seconds: float = 4.0, rate: int = 22_050) -> Path:
    t = np.arange(round(seconds * rate)) / rate
    sf.write(path, 0.3 * np.sin(2 * np.pi * 440 * t), rate)
    return path


def video(path: Path, seconds: float = 2.0, picture: str = "libx264", sound: str | None = "aac") -> Path:
    with av.open(str(path), "w") as out:
        pictures = out.add_stream(picture, rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sounds = out.add_stream(sound, rate=48_000, layout="mono") if sound else None
        for i in range(round(seconds * 25)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), i % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(pictures.encode(frame))
        out.mux(pictures.encode(None))
        if sounds is not None:
            noise = np.random.default_rng(0).uniform(-0.1, 0.1, (1, round(seconds * 48_000))).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
            out.mux(sounds.encode(frame))
            out.mux(sounds.encode(None))
    return path


def media_of(page: Page, i: int = 0) -> dict[str, Any]:
    return page.data["recordings"][i]["media"]


def embedded(page: Page, i: int = 0) -> bytes:
    return base64.b64decode(page.text(f"media-{i}"), validate=True)


def samples(content: bytes) -> np.ndarray:
    with av.open(io.BytesIO(content)) as container:
        frames = [f.to_ndarray().mean(axis=0) for f in container.decode(audio=0)]
        assert container.streams.audio[0].rate == 16_000
    return np.concatenate(frames)


# ---- the page and its data


def test_the_data_of_the_page_are_the_predictions(tmp_path: Path) -> None:
    lines = [timeline("a.wav"), timeline("b/c.mp4", n=0)]
    write_report(tmp_path / "out.html", lines, model="emotions4", model_card="Line one.\nLine two.")
    data = Page(tmp_path / "out.html").data
    assert (data["model"], data["model_card"]) == ("emotions4", "Line one.\nLine two.")
    assert [(r["source"], r["duration_s"]) for r in data["recordings"]] == [("a.wav", 4.0), ("b/c.mp4", 4.0)]
    for recording, line in zip(data["recordings"], lines, strict=True):
        assert recording["predictions"] == json.loads(json.dumps([p.to_dict() for p in line]))
    assert data["recordings"][0]["predictions"][0]["words"][1]["start_s"] is None


def test_the_page_is_well_formed_and_has_its_parts(tmp_path: Path) -> None:
    write_report(tmp_path / "out.html", [timeline()])
    page = Page(tmp_path / "out.html")
    assert (page.errors, page.open) == ([], [])
    assert page.all("html")[0][0]["lang"] == "en"
    assert page.all("title")[0][1] == "talk.wav – emofuse report"
    identities = [attrs["id"] for _, attrs, _ in page.elements if attrs.get("id")]
    assert len(identities) == len(set(identities))
    used = set(re.findall(r'\$\("([\w-]+)"\)', page.all("script")[1][1]))
    assert used <= set(identities)
    labelled = {a["aria-labelledby"] for _, a, _ in page.elements if a.get("aria-labelledby")}
    assert labelled <= set(identities)
    footer = (tmp_path / "out.html").read_text(encoding="utf-8").split("<footer>")[1]
    assert all(words in footer for words in ("can be wrong", "Art. 5(1)(f)", "Art. 50(3)"))


def test_nothing_is_requested_from_elsewhere(tmp_path: Path) -> None:
    write_report(tmp_path / "out.html", [timeline()], {"talk.wav": wav(tmp_path / "talk.wav")})
    page = Page(tmp_path / "out.html")
    addresses = [
        v for _, a, _ in page.elements for k, v in a.items() if k in ("src", "href", "srcset", "data", "poster")
    ]
    assert all(v and (v.startswith(("data:", "#"))) for v in addresses)
    content = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", content)
    policy = next(a["content"] or "" for a, _ in page.all("meta") if a.get("http-equiv"))
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "file:" not in policy
    # Inline handlers and style attributes would be blocked by that policy.
    assert not [k for _, a, _ in page.elements for k in a if k.startswith("on") or k == "style"]


@pytest.mark.parametrize("field", ["source", "speaker", "text", "label", "model", "model_card"])
def test_no_text_can_become_markup(tmp_path: Path, field: str) -> None:
    clean, dirty = tmp_path / "clean.html", tmp_path / "dirty.html"
    write_report(clean, [timeline()])
    about = {field: ATTACK} if field.startswith("model") else {}
    line = (
        timeline() if about else timeline(**{field: ATTACK}) if field == "source" else timeline(n=1, **{field: ATTACK})
    )
    write_report(dirty, [line], **about)
    page = Page(dirty)
    assert [tag for tag, _, _ in page.elements] == [tag for tag, _, _ in Page(clean).elements]
    recording = page.data["recordings"][0]
    assert ATTACK in (recording["source"], recording["predictions"][0].get(field), page.data.get(field))
    assert not set("<>&") & set(page.text("data"))


def test_words_with_markup_stay_words(tmp_path: Path) -> None:
    write_report(tmp_path / "out.html", [timeline(words=(WordEvidence(ATTACK, None, None, 1.0),))])
    assert Page(tmp_path / "out.html").data["recordings"][0]["predictions"][0]["words"][0]["text"] == ATTACK


@pytest.mark.skipif(os.name == "nt", reason="file names are bytes on POSIX only")
def test_a_file_name_that_is_not_utf_8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    write_report(tmp_path / "out.html", [timeline(name)])
    page = Page(tmp_path / "out.html")
    assert page.data["recordings"][0]["source"] == name
    assert page.all("title")[0][1] == "caf?.wav – emofuse report"


def test_several_recordings_are_counted_in_the_title(tmp_path: Path) -> None:
    write_report(tmp_path / "out.html", [timeline("a.wav"), timeline("b.wav")])
    assert Page(tmp_path / "out.html").all("title")[0][1] == "2 recordings – emofuse report"


# ---- writing


def test_the_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.html"
    out.write_text("the old one", encoding="utf-8")

    def fails(*_: object) -> Iterator[str]:
        yield "half"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "_embedded", fails)
    with pytest.raises(ConfigError, match=r"out\.html: the report cannot be written there \(No space left on device\)"):
        write_report(out, [timeline()])
    assert out.read_text(encoding="utf-8") == "the old one"
    assert [p.name for p in tmp_path.iterdir()] == ["out.html"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written there"):
        write_report(tmp_path / "no" / "out.html", [timeline()])


def test_no_recording_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="need at least one"):
        write_report(tmp_path / "out.html", [])


def test_probabilities_that_json_cannot_hold_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_report(tmp_path / "out.html", [timeline(confidence=float("nan"))])
    assert list(tmp_path.iterdir()) == []


# ---- media


def test_the_sound_is_embedded_in_full_length(tmp_path: Path) -> None:
    path = wav(tmp_path / "talk.wav", 4.0)
    write_report(tmp_path / "out.html", [timeline()], {"talk.wav": path})
    page = Page(tmp_path / "out.html")
    assert media_of(page) == {"kind": "audio", "type": "audio/mpeg", "href": None, "note": None}
    decoded, original = samples(embedded(page)), read_audio(path)
    assert len(decoded) == len(original) == 64_000
    inner = slice(1600, -1600)  # in phase too: what is heard is where the timeline says
    assert np.corrcoef(decoded[inner], original[inner])[0, 1] > 0.99


def test_no_player_without_media(tmp_path: Path) -> None:
    write_report(tmp_path / "out.html", [timeline("a.wav"), timeline("b.wav")], {"b.wav": wav(tmp_path / "b.wav")})
    page = Page(tmp_path / "out.html")
    assert media_of(page, 0) is None
    assert len(samples(embedded(page, 1))) == 64_000


@pytest.mark.parametrize(
    ("name", "picture", "sound", "mime"),
    [
        ("a.mp4", "libx264", "aac", "video/mp4"),
        ("silent.mp4", "libx264", None, "video/mp4"),
        ("a.webm", "libvpx", "libopus", "video/webm"),
    ],
)
def test_a_video_that_browsers_play_is_embedded_as_it_is(
    tmp_path: Path, name: str, picture: str, sound: str | None, mime: str
) -> None:
    path = video(tmp_path / name, 1.0, picture, sound)
    write_report(tmp_path / "out.html", [timeline(name)], {name: path})
    page = Page(tmp_path / "out.html")
    assert media_of(page) == {"kind": "video", "type": mime, "href": None, "note": None}
    assert embedded(page) == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "picture", "sound"),
    [("a.mpg", "mpeg1video", "mp2"), ("a.mkv", "libx264", "aac"), ("a.avi", "mpeg4", "mp3")],
)
def test_of_other_videos_the_sound_is_embedded_and_the_page_says_so(
    tmp_path: Path, name: str, picture: str, sound: str
) -> None:
    path = video(tmp_path / name, 2.0, picture, sound)
    write_report(tmp_path / "out.html", [timeline(name)], {name: path})
    page = Page(tmp_path / "out.html")
    assert media_of(page)["type"] == "audio/mpeg"
    assert media_of(page)["note"] == "Sound only: the picture is left out, as browsers do not play this kind of file."
    assert len(samples(embedded(page))) / 16_000 == pytest.approx(2.0, abs=0.05)


def test_of_a_large_video_the_sound_is_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = video(tmp_path / "a.mp4", 1.0)
    monkeypatch.setattr(report, "VIDEO_LIMIT", path.stat().st_size - 1)
    write_report(tmp_path / "out.html", [timeline("a.mp4")], {"a.mp4": path})
    media = media_of(Page(tmp_path / "out.html"))
    assert (media["kind"], media["note"]) == (
        "audio",
        "Sound only: the picture is left out, as it is too large to put into the page.",
    )


def test_what_does_not_fit_is_linked_beside_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "pages").mkdir()
    first, second = wav(tmp_path / "in" / "a.wav", 2.0), wav(tmp_path / "in" / "b c#1.wav", 2.0)
    monkeypatch.setattr(report, "MEDIA_LIMIT", 8_000)  # two seconds at 24 kbit/s are 6 kB
    lines = [timeline("a", duration_s=2.0), timeline("b", duration_s=2.0)]
    write_report(tmp_path / "pages" / "out.html", lines, {"a": first, "b": second})
    page = Page(tmp_path / "pages" / "out.html")
    assert len(samples(embedded(page, 0))) == 32_000
    assert media_of(page, 1)["href"] == "./../in/b%20c%231.wav"
    assert "not inside this page" in media_of(page, 1)["note"]
    assert "media-src blob: 'self' file:;" in (tmp_path / "pages" / "out.html").read_text(encoding="utf-8")


def test_the_bit_rate_follows_the_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = wav(tmp_path / "a.wav", 4.0), tmp_path / "out.html"
    sizes = []
    for limit in (30_000, 17_000, 14_000):
        monkeypatch.setattr(report, "MEDIA_LIMIT", limit)
        write_report(out, [timeline()], {"talk.wav": path})
        sizes.append(len(embedded(Page(out))))
    assert sizes == pytest.approx([24_000, 16_000, 12_000], rel=0.05)


@pytest.mark.parametrize("content", [None, b"", b"not media at all" * 100])
def test_a_recording_that_cannot_be_read_leaves_the_numbers(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "talk.wav"
    if content is not None:
        path.write_bytes(content)
    write_report(tmp_path / "out.html", [timeline()], {"talk.wav": path})
    page = Page(tmp_path / "out.html")
    assert media_of(page)["note"] == "The recording could not be put into the page."
    assert len(page.data["recordings"][0]["predictions"]) == 2


def test_a_cover_picture_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as out:
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        sounds = out.add_stream("aac", rate=16_000, layout="mono")
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        out.mux(sounds.encode(frame))
        out.mux(sounds.encode(None))
    write_report(tmp_path / "out.html", [timeline()], {"talk.wav": path})
    assert media_of(Page(tmp_path / "out.html")) == {"kind": "audio", "type": "audio/mpeg", "href": None, "note": None}
