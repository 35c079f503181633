"""What the page shows of a prediction, and gives to take away."""

import csv
import io
import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

SAID = "I am so happy to see you, this is wonderful!"


def command_line(clip: Path, *options: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "emofuse", "predict", clip.name, *options, "--format", "json"]
    output = subprocess.run(command, capture_output=True, check=True, text=True, cwd=clip.parent).stdout
    return [json.loads(line) for line in output.splitlines()]


def test_a_clip_becomes_a_timeline_and_its_json_is_the_command_line_s(page: Any, example_clip: Path) -> None:
    page.picture("empty")
    page.upload(example_clip, SAID)
    assert page.by("name").text == "hello.wav"
    assert len(page.find_all(".block")) == 1
    details = page.by("details").text
    assert SAID in details
    assert "Missing here: the face." in details
    page.find("[data-format=json]").click()
    found = json.loads(page.saved("hello.json"))
    assert found["predictions"] == command_line(example_clip, "--text", SAID)
    page.picture("result")


def test_every_format_can_be_downloaded(page: Any, example_clip: Path) -> None:
    page.upload(example_clip)
    beginnings = {
        "csv": "source,",
        "TextGrid": "File type",
        "eaf": "<?xml",
        "srt": "1\n",
        "txt": "hello.wav",
        "html": "<!doctype",
    }
    for ending, beginning in (beginnings | {"html": "<!doctype"}).items():
        name = {"TextGrid": "textgrid", "txt": "text"}.get(ending, ending)
        page.find(f"[data-format={name}]").click()
        assert page.saved(f"hello.{ending}").startswith(beginning)
    (row,) = csv.DictReader(io.StringIO(page.saved("hello.csv")))
    assert row["label"] == page.find("#details .verdict b").text.lower()


def test_the_player_runs_in_step_with_the_timeline(page: Any, example_clip: Path) -> None:
    page.upload(example_clip)
    page.until(lambda: page.run("return document.querySelector('audio').readyState >= 1"))
    page.find(".actions .primary").click()
    page.until(lambda: page.run("return document.querySelector('audio').currentTime") > 0.5)
    left = page.run("return parseFloat(document.getElementById('playhead').style.left)")
    assert 5 < left <= 100
    page.until(lambda: page.run("return document.querySelector('audio').paused"))  # at the utterance's end


def test_words_can_be_corrected(page: Any, example_clip: Path) -> None:
    page.upload(example_clip)
    assert page.find_all("#details .quote") == []
    page.by("edit").click()
    line = page.by("line-0")
    line.clear()
    line.send_keys('How "dare" you, get out!')
    line.submit()
    page.until(lambda: page.find_all("#details .quote"))
    assert page.find("#details .quote").text == 'How "dare" you, get out!'


def test_words_alone_have_an_answer_and_no_timeline(page: Any) -> None:
    page.by("words").send_keys("I hate this, leave me alone.")
    page.by("predict").click()
    page.result()
    assert page.by("headline").text == "These words read as angry."
    assert "0:00" not in page.by("result").text
    assert not page.by("timeline").is_displayed()
    offered = [b for b in page.find_all("[data-format]") if b.is_displayed()]
    assert [b.text for b in offered] == ["JSON", "csv", "Text", "Report"]
    page.picture("words")


def test_a_recording_that_the_browser_cannot_play_has_its_numbers(page: Any, tmp_path: Path) -> None:
    sound = tmp_path / "clip.au"  # decoded by the server, by no browser
    sf.write(sound, np.random.default_rng(0).uniform(-0.1, 0.1, 16_000), 16_000)
    page.upload(sound)
    page.until(lambda: "cannot play the recording" in page.by("media-note").text)
    assert page.find_all("#player *, .actions .primary") == []
    assert page.find_all(".block")


def test_it_says_what_it_is_and_what_the_law_says(page: Any) -> None:
    text = page.find("body").text
    for part in ("estimate and can be wrong", "at work or in education is prohibited", "Art. 5(1)(f)", "Art. 50(3)"):
        assert part in text


def test_nothing_is_left_on_the_server(page: Any, server: Any, example_clip: Path) -> None:
    page.upload(example_clip)
    page.driver.get("about:blank")
    time.sleep(0.5)
    with urllib.request.urlopen(f"{server.url}metrics") as answer:
        counts = answer.read().decode()
    assert 'emofuse_jobs{state="done"} 0.0' in counts
