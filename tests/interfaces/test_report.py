import base64
import io
import json
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile as sf

from emofuse.errors import ConfigError, DataError
from emofuse.interfaces import player, report
from emofuse.interfaces.report import write_report
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


def media_of(page: Page, i: int = 0) -> dict[str, Any]:
    return page.data["recordings"][i]["media"]


def embedded(page: Page, i: int = 0) -> bytes:
    return base64.b64decode(page.text(f"media-{i}"), validate=True)


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
    assert page.text("name") == "talk.wav"  # also where scripts are switched off
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


def test_players_stand_in_the_page(tmp_path: Path) -> None:
    write_report(tmp_path / "out.html", [timeline("a.wav"), timeline("b.wav")], {"b.wav": wav(tmp_path / "b.wav")})
    page = Page(tmp_path / "out.html")
    assert media_of(page, 0) is None
    assert media_of(page, 1) == {"kind": "audio", "type": "audio/mpeg", "href": None, "note": None}
    with av.open(io.BytesIO(embedded(page, 1))) as sound:
        assert sound.streams.audio[0].rate == 16_000


def test_a_page_may_load_the_recordings_beside_it_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(player, "MEDIA_LIMIT", 10)
    write_report(tmp_path / "out.html", [timeline()], {"talk.wav": wav(tmp_path / "talk.wav")})
    assert media_of(Page(tmp_path / "out.html"))["href"] == "./talk.wav"
    assert "media-src blob: 'self' file:;" in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_what_went_wrong_is_in_the_page(tmp_path: Path) -> None:
    line = Timeline("talk.wav", 4.0, (), problems=("talk.wav: damaged; the sound ends",))
    write_report(tmp_path / "out.html", [line], failures=["bad.wav: empty file"])
    data = Page(tmp_path / "out.html").data
    assert data["failures"] == ["bad.wav: empty file"]
    assert data["recordings"][0]["problems"] == ["talk.wav: damaged; the sound ends"]
