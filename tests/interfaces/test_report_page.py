"""The report in a real browser; skipped, visibly, where chromium, its driver or selenium is not installed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from emofuse.interfaces.report import write_report
from emofuse.prediction import Moment, Prediction, Timeline, WordEvidence

ATTACK = "</script><img src=x onerror=document.title='broken'>"


@pytest.fixture(scope="module")
def browser(open_browser: Callable[..., Any]) -> Any:
    return open_browser("--window-size=1400,1000")


def prediction(start_s: float, label: str, unsure: bool = False, speaker: str | None = "Ann") -> Prediction:
    rest = {"happy": 0.2, "neutral": 0.15, "sad": 0.05, "angry": 0.1}
    share = 0.3 if unsure else 0.6
    scale = (1 - share) / sum(v for k, v in rest.items() if k != label)
    probabilities = {k: share if k == label else v * scale for k, v in rest.items()}
    return Prediction(
        source="talk.wav",
        start_s=start_s,
        end_s=start_s + 0.8,
        speaker=speaker,
        text=f"well {label} {ATTACK}",
        label=label,
        probabilities=probabilities,
        modalities=("speech", "text"),
        missing=("visual",),
        confidence=share,
        unsure=unsure,
        weights={"speech": 0.75, "text": 0.25},
        by_modality={"speech": probabilities, "text": probabilities},
        words=(WordEvidence("well", start_s, start_s + 0.3, 0.125), WordEvidence(ATTACK, None, None, 0.875)),
        moments=tuple(
            Moment(start_s + 0.2 * i, start_s + 0.2 * (i + 1), w) for i, w in enumerate((0.1, 0.2, 0.3, 0.4))
        ),
    )


def talk(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    sf.write(folder / "talk.wav", rng.uniform(-0.1, 0.1, 4 * 16_000), 16_000)
    lines = (prediction(0.5, "happy"), prediction(1.5, "sad", unsure=True, speaker="Ben"), prediction(2.5, "angry"))
    out = folder / "talk.html"
    timelines = [Timeline("talk.wav", 4.0, lines), Timeline("quiet.wav", 2.0, ())]
    write_report(out, timelines, {"talk.wav": folder / "talk.wav"}, model="test")
    return out


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Any:
    browser.get_log("performance")
    browser.get(talk(tmp_path).as_uri())
    until(browser, lambda: browser.execute_script("return document.querySelector('audio').readyState >= 1"))
    return browser


def until(browser: Any, condition: Callable[[], Any]) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 20).until(lambda _: condition())


def find(browser: Any, selector: str) -> list[Any]:
    return browser.find_elements("css selector", selector)


def player_time(browser: Any) -> float:
    return browser.execute_script("return document.querySelector('audio').currentTime")


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def test_a_click_on_an_utterance_seeks_and_shows_its_numbers(page: Any) -> None:
    blocks = {b.get_attribute("data-index"): b for b in find(page, ".block")}
    assert sorted(blocks) == ["0", "1", "2"]
    blocks["1"].click()
    assert player_time(page) == pytest.approx(1.5, abs=0.02)
    details = page.find_element("id", "details").text
    assert "2 of 3" in details
    assert "Ben · 0:01.5 – 0:02.3" in details
    assert "Not sure enough to say. Sad is only the likeliest guess, at 30 %" in details
    assert "30.0 %" in details
    assert "Missing here: the face." in details
    assert "Voice\n75 %" in details
    labels = [w.get_attribute("aria-label") for w in find(page, ".words button")]
    assert labels == ["well, 12.5 % of the weight", f"{ATTACK}, 87.5 % of the weight"]
    assert len(find(page, ".moments i")) == 4
    assert "unsure" in (blocks["1"].get_attribute("class") or "")


def test_the_keyboard_walks_through_the_utterances_and_plays(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    press(page, Keys.ARROW_RIGHT)
    assert player_time(page) == pytest.approx(1.5, abs=0.02)
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert player_time(page) == pytest.approx(2.5, abs=0.02)
    press(page, Keys.ARROW_LEFT)
    assert page.find_element("css selector", ".block.selected").get_attribute("aria-current") == "true"
    press(page, " ")
    until(page, lambda: "3 of 3" in page.find_element("id", "details").text)  # the panel follows the playback
    press(page, " ")
    assert page.execute_script("return document.querySelector('audio').paused")


def test_play_this_utterance_stops_at_its_end(page: Any) -> None:
    find(page, ".block[data-index='0']")[0].click()
    find(page, ".details .primary")[0].click()
    until(page, lambda: player_time(page) > 0.6)
    until(page, lambda: page.execute_script("return document.querySelector('audio').paused"))
    assert player_time(page) == pytest.approx(1.3, abs=0.2)


def test_filters_and_order_of_the_table(page: Any) -> None:
    def starts() -> list[str]:
        return [cell.text[:6] for cell in find(page, "#rows .time")]

    assert starts() == ["0:00.5", "0:01.5", "0:02.5"]
    find(page, "#table-head [data-key=label]")[0].click()
    assert starts() == ["0:02.5", "0:00.5", "0:01.5"]
    assert find(page, "#table-head [aria-sort]")[0].get_attribute("aria-sort") == "ascending"
    page.find_element("id", "filter-unsure").click()
    assert starts() == ["0:01.5"]
    assert page.find_element("id", "count").text == "1 of 3 utterances"


def test_another_recording_without_speech_or_sound(page: Any) -> None:
    find(page, "#recording-list button")[1].click()
    assert page.find_element("id", "name").text == "quiet.wav"
    assert "No speech was found" in page.find_element("id", "headline").text
    assert find(page, "audio, .block, #rows tr") == []


def test_no_error_no_request_no_markup_from_text(page: Any) -> None:
    find(page, ".block[data-index='1']")[0].click()
    assert page.get_log("browser") == []
    assert find(page, "img, [onerror]") == []
    assert page.title == "2 recordings – emofuse report"
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert {url.split(":")[0] for url in urls} <= {"file", "blob", "data"}
    assert sum(url.startswith("file:") for url in urls) == 1  # the page itself


CARD = f"""# A model

It knows **two** emotions, see [the paper](https://example.org).

| part | UA % |
|---|---|
| `speech` | 72.6 |
| {ATTACK} | |

## Limits

- It is small,
  very small.
- It is new.

```
emofuse predict
```
"""


def test_the_model_card_is_set_as_text_with_tables(browser: Any, tmp_path: Path) -> None:
    line = Timeline("a.wav", 4.0, (prediction(0.5, "happy"),), problems=("a.wav: damaged; the end is lost",))
    write_report(tmp_path / "a.html", [line], model_card=CARD, failures=["b.wav: empty file"])
    browser.get((tmp_path / "a.html").as_uri())
    card = browser.find_element("id", "model-card")
    assert card.text == "A model\nIt knows two emotions, see the paper.\nThe whole model card"
    card.find_element("css selector", "summary").click()
    assert [cell.text for cell in find(card, "th")] == ["part", "UA %"]
    assert [cell.text for cell in find(card, "td")] == ["speech", "72.6", ATTACK, ""]
    assert [item.text for item in find(card, ".item")] == ["It is small, very small.", "It is new."]
    assert [code.text for code in find(card, "pre")] == ["emofuse predict"]
    assert not find(card, "a, img")
    assert browser.find_element("id", "problems").text == "Damaged; the end is lost"
    assert browser.find_element("id", "failures").text == "1 file could not be used\nb.wav: empty file"


def test_three_thousand_utterances_open_fast(browser: Any, tmp_path: Path) -> None:
    labels = ("happy", "sad", "neutral", "angry")
    lines = tuple(prediction(3.6 * i, labels[i % 4], i % 3 == 0, f"Speaker {i % 5}") for i in range(3000))
    write_report(tmp_path / "long.html", [Timeline("long.wav", 10_800.0, lines)])
    browser.get((tmp_path / "long.html").as_uri())
    assert browser.find_element("id", "count").text == "3,000 utterances"
    assert browser.execute_script("return document.getElementsByTagName('*').length") < 3000
    page = browser.find_element("id", "table-scroll")
    browser.execute_script("arguments[0].scrollTop = 1e6", page)
    until(browser, lambda: len(find(browser, "#rows tr")) > 80)
    browser.execute_script("document.querySelector('#zoom-fit').click()")
    assert len(find(browser, ".block")) <= 410
    from selenium.webdriver.common.keys import Keys

    browser.find_element("id", "overview").click()  # its middle
    assert find(browser, ".block")[0].get_attribute("aria-label").startswith("1:")
    overview = browser.find_element("id", "overview")
    before = float(overview.get_attribute("aria-valuenow"))
    assert before == pytest.approx(5400, abs=20)
    press(browser, Keys.PAGE_DOWN)  # as a slider: down is less
    assert float(overview.get_attribute("aria-valuenow")) == pytest.approx(before - 60)
    assert browser.get_log("browser") == []
