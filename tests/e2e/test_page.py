"""The web page of a real server in a real browser; its pictures are left in ``runs/e2e``."""

import csv
import io
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "runs" / "e2e"
SAID = "I am so happy to see you, this is wonderful!"
TOKEN = "a-token-for-these-tests"

# Text whose contrast with what lies behind it is below WCAG's AA: 4.5, or 3 where it is large.
FAINT = """
const dot = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
const pen = dot.getContext("2d", { willReadFrequently: true });
const over = (colours) => {  // one colour over the other, as the browser mixes them
  pen.clearRect(0, 0, 1, 1);
  for (const colour of colours) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); }
  return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const light = (rgb) => {
  const [r, g, b] = rgb.map((x) => x / 255).map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const faint = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement, style = getComputedStyle(element);
  const unseen = !walker.currentNode.data.trim() || !element.getClientRects().length || style.visibility === "hidden";
  if (unseen || element.closest(":disabled, .visually-hidden, script, option")) continue;
  const behind = [];
  for (let at = element; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
  const below = light(over(behind)), text = light(over([...behind, style.color]));
  const ratio = (Math.max(below, text) + 0.05) / (Math.min(below, text) + 0.05);
  const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  if (ratio < (large ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)} ${element.className}: ${element.textContent}`);
}
return faint;
"""


class Server:
    """A server of its own, on a free port."""

    def __init__(self, state: Path, *options: str) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"http://localhost:{self.port}/"
        command = [sys.executable, "-m", "emofuse", "serve", "--port", str(self.port), "--state", str(state), *options]
        self.state = state
        self.process = subprocess.Popen(command)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"{self.url}readyz", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        self.process.kill()
        raise TimeoutError("the server did not start")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(40)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("state"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(open_browser: Callable[..., Any], example_clip: Path, downloads: Path) -> Any:
    driver = open_browser(
        "--hide-scrollbars",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={example_clip}",
    )
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    return driver


@pytest.fixture
def page(browser: Any, server: Server) -> Any:
    size(browser, 1280, 900)
    browser.get(server.url)
    browser.get_log("browser")
    browser.get_log("performance")
    return browser


@pytest.fixture(autouse=True)
def nothing_goes_wrong_unseen(page: Any, server: Server) -> Iterator[None]:
    """Whatever a test did: no error in the browser's console, and not one request to anywhere else."""
    yield
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    sent = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith((server.url, "data:", "blob:"))] == []


def size(browser: Any, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def picture(browser: Any, name: str) -> None:
    """The whole page at 1280 and 390 pixels, light and dark; it must not scroll sideways, and all of it be readable."""
    for theme in ("light", "dark"):
        browser.execute_script("window.emofuseViewer.setTheme(arguments[0])", theme)
        assert browser.execute_script(FAINT) == []
        _picture(browser, f"{name}-{theme}")
    browser.execute_script("window.emofuseViewer.setTheme('auto')")


def _picture(browser: Any, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for width in (1280, 390):
        size(browser, width, 900)
        time.sleep(0.2)
        browser.execute_script("scrollTo(0, 0)")
        size(browser, width, browser.execute_script("return document.documentElement.scrollHeight"))
        time.sleep(0.3)
        browser.save_screenshot(str(PICTURES / f"{name}-{width}.png"))
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    size(browser, 1280, 900)


def until(browser: Any, condition: Callable[[], Any], seconds: float = 30) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, seconds, poll_frequency=0.05).until(lambda _: condition())


def by(browser: Any, identifier: str) -> Any:
    return browser.find_element("id", identifier)


def result(browser: Any) -> Any:
    until(browser, lambda: by(browser, "result").is_displayed() or by(browser, "error").is_displayed())
    assert by(browser, "error").text == ""
    return by(browser, "result")


def upload(page: Any, clip: Path, words: str = "") -> None:
    by(page, "file").send_keys(str(clip))
    by(page, "words").send_keys(words)
    by(page, "predict").click()
    result(page)


def saved(downloads: Path, name: str) -> str:
    until_s = time.monotonic() + 20
    while not (downloads / name).exists() and time.monotonic() < until_s:
        time.sleep(0.05)
    return (downloads / name).read_text(encoding="utf-8")


def command_line(clip: Path, *options: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "emofuse", "predict", clip.name, *options, "--format", "json"]
    output = subprocess.run(command, capture_output=True, check=True, text=True, cwd=clip.parent).stdout
    return [json.loads(line) for line in output.splitlines()]


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def test_a_clip_becomes_a_timeline_and_its_json_is_the_command_line_s(
    page: Any, downloads: Path, example_clip: Path
) -> None:
    picture(page, "empty")
    upload(page, example_clip, SAID)
    assert by(page, "name").text == "hello.wav"
    assert len(page.find_elements("css selector", ".block")) == 1
    details = by(page, "details").text
    assert SAID in details
    assert "Missing here: the face." in details
    page.find_element("css selector", "[data-format=json]").click()
    found = json.loads(saved(downloads, "hello.json"))
    assert found["predictions"] == command_line(example_clip, "--text", SAID)
    picture(page, "result")


def test_every_format_can_be_downloaded(page: Any, downloads: Path, example_clip: Path) -> None:
    upload(page, example_clip)
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
        page.find_element("css selector", f"[data-format={name}]").click()
        assert saved(downloads, f"hello.{ending}").startswith(beginning)
    (row,) = csv.DictReader(io.StringIO(saved(downloads, "hello.csv")))
    assert row["label"] == by(page, "details").find_element("css selector", ".verdict b").text.lower()


def test_the_player_runs_in_step_with_the_timeline(page: Any, example_clip: Path) -> None:
    upload(page, example_clip)
    until(page, lambda: page.execute_script("return document.querySelector('audio').readyState >= 1"))
    page.find_element("css selector", ".actions .primary").click()
    until(page, lambda: page.execute_script("return document.querySelector('audio').currentTime") > 0.5)
    left = page.execute_script("return parseFloat(document.getElementById('playhead').style.left)")
    assert 5 < left <= 100
    until(page, lambda: page.execute_script("return document.querySelector('audio').paused"))  # at the utterance's end


def test_a_recording_becomes_a_result(page: Any) -> None:
    by(page, "record-sound").click()
    until(page, lambda: by(page, "timer").text == "0:03")
    until(page, lambda: int(by(page, "level").get_attribute("aria-valuenow")) > 0)
    picture(page, "recording")
    by(page, "stop").click()
    until(page, lambda: by(page, "chosen").is_displayed())
    assert by(page, "chosen-name").text.endswith(".webm")
    by(page, "predict").click()
    result(page)
    assert by(page, "name").text.startswith("recording")
    assert page.find_elements("css selector", ".block")
    assert page.find_element("css selector", "#player audio")
    until(page, lambda: 2 < (page.execute_script("return document.querySelector('audio').duration") or 0) < 20)


def test_a_recording_of_the_camera_is_played_and_can_be_saved(page: Any, downloads: Path) -> None:
    by(page, "record-video").click()
    until(page, lambda: by(page, "timer").text == "0:02")
    by(page, "predict").click()  # ends the recording, too
    result(page)
    video = page.find_element("css selector", "#player video")
    until(page, lambda: video.get_property("videoWidth") == 640)
    by(page, "save").click()
    assert until(page, lambda: list(downloads.glob("recording *.webm")))


def test_a_microphone_that_is_not_allowed_is_said(page: Any) -> None:
    page.execute_script("""navigator.mediaDevices.getUserMedia = () =>
        Promise.reject(new DOMException("", "NotAllowedError"))""")
    by(page, "record-sound").click()
    assert "The microphone may not be used: allow it" in until(page, lambda: by(page, "error").text)
    assert by(page, "drop").is_displayed()


def test_a_discarded_recording_is_gone(page: Any) -> None:
    by(page, "record-video").click()
    until(page, lambda: by(page, "camera").is_displayed())
    by(page, "discard").click()
    until(page, lambda: by(page, "drop").is_displayed())
    assert not by(page, "chosen").is_displayed()


def test_words_can_be_corrected(page: Any, example_clip: Path) -> None:
    upload(page, example_clip)
    assert by(page, "details").find_elements("css selector", ".quote") == []
    by(page, "edit").click()
    line = by(page, "line-0")
    line.clear()
    line.send_keys('How "dare" you, get out!')
    line.submit()
    until(page, lambda: by(page, "details").find_elements("css selector", ".quote"))
    assert by(page, "details").find_element("css selector", ".quote").text == 'How "dare" you, get out!'


def test_the_keyboard_alone_records_and_predicts(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    for _ in range(10):
        press(page, Keys.TAB)
        if page.switch_to.active_element.get_attribute("id") == "record-sound":
            break
    press(page, Keys.ENTER)
    until(page, lambda: page.switch_to.active_element.get_attribute("id") == "stop")
    until(page, lambda: by(page, "timer").text == "0:02")
    press(page, Keys.ENTER)
    until(page, lambda: page.switch_to.active_element.get_attribute("id") == "predict")
    press(page, Keys.ENTER)
    result(page)
    until(page, lambda: page.switch_to.active_element.get_attribute("id") == "name")


def test_the_keyboard_alone_is_enough(page: Any, example_clip: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    by(page, "file").send_keys(str(example_clip))  # the system's own dialogue cannot be driven
    page.execute_script("document.getElementById('file').focus()")
    reached = []
    for _ in range(40):
        press(page, Keys.TAB)
        active = page.switch_to.active_element
        reached.append(active.get_attribute("id"))
        outline = page.execute_script("return getComputedStyle(arguments[0]).outlineStyle", active)
        assert outline != "none" or active.get_attribute("type") == "file", reached  # its label has the outline
        if reached[-1] == "predict":
            break
    assert reached[-1] == "predict"
    assert {"words", "record-sound", "clear"} <= set(reached)
    press(page, Keys.ENTER)
    result(page)
    assert page.switch_to.active_element.get_attribute("id") == "name"
    press(page, Keys.ARROW_RIGHT)
    assert "1 of 1" in by(page, "details").text


def test_every_control_has_a_name_and_can_be_hit(page: Any, example_clip: Path) -> None:
    upload(page, example_clip, SAID)
    by(page, "edit").click()
    script = """
    const controls = "button, a, input, select, textarea, progress, summary, [role=slider], [role=meter]";
    const seen = [...document.querySelectorAll(controls)].filter((e) => e.getClientRects().length);
    const referred = (e) => (e.getAttribute("aria-labelledby") || "").split(" ");
    const names = (e) => [e.getAttribute("aria-label"), ...[...(e.labels ?? [])].map((l) => l.textContent),
      ...referred(e).map((id) => document.getElementById(id)?.textContent), e.textContent];
    const nameless = seen.filter((e) => !names(e).join("").trim());
    const box = (e) => e.getBoundingClientRect();
    const inline = ".visually-hidden, .skip, label.check *, p *, td *, .words *, summary";
    const apart = seen.filter((e) => !e.matches(inline));
    const small = apart.filter((e) => Math.min(box(e).width, box(e).height) < 24);
    return [nameless, small].map((list) => list.map((e) => e.outerHTML));
    """
    nameless, small = page.execute_script(script)
    assert nameless == []
    assert small == []
    assert page.execute_script("return document.documentElement.lang") == "en"


def test_words_alone_have_an_answer_and_no_timeline(page: Any) -> None:
    by(page, "words").send_keys("I hate this, leave me alone.")
    by(page, "predict").click()
    result(page)
    assert by(page, "headline").text == "These words read as angry."
    assert "0:00" not in by(page, "result").text
    assert not by(page, "timeline").is_displayed()
    offered = [b for b in page.find_elements("css selector", "[data-format]") if b.is_displayed()]
    assert [b.text for b in offered] == ["JSON", "csv", "Text", "Report"]
    picture(page, "words")


def test_a_prediction_that_fails_leaves_the_last_result_as_it_was(
    page: Any, downloads: Path, tmp_path: Path, example_clip: Path
) -> None:
    kept, broken = tmp_path / "kept.wav", tmp_path / "broken.wav"
    kept.write_bytes(example_clip.read_bytes())
    broken.write_bytes(b"no sound at all")
    upload(page, kept)
    by(page, "file").send_keys(str(broken))
    by(page, "predict").click()
    until(page, lambda: "broken.wav: not a media file" in by(page, "error").text)
    page.find_element("css selector", "[data-format=csv]").click()
    assert saved(downloads, "kept.csv").startswith("source,")
    page.execute_script("document.querySelector('audio').load()")  # its file is there still
    until(page, lambda: page.execute_script("return document.querySelector('audio').readyState >= 1"))
    by(page, "edit").click()  # corrects the words of the result, not of what has been chosen since
    by(page, "line-0").send_keys("get out")
    by(page, "line-0").submit()
    until(page, lambda: by(page, "details").find_elements("css selector", ".quote"))
    assert by(page, "name").text == "kept.wav"
    assert not by(page, "error").is_displayed()


def test_a_busy_server_is_asked_again_and_can_be_left_alone(page: Any, server: Server, example_clip: Path) -> None:
    waiting = [server.state / "jobs" / f"upload-{i}" for i in range(100)]
    for folder in waiting:
        folder.mkdir()
    by(page, "file").send_keys(str(example_clip))
    by(page, "predict").click()
    until(page, lambda: by(page, "doing-more").text.startswith("It is asked again in 5"))
    by(page, "cancel").click()
    until(page, lambda: not by(page, "working").is_displayed())
    for folder in waiting:
        folder.rmdir()
    page.get_log("browser")  # its 503 is no fault
    by(page, "predict").click()
    result(page)


def test_a_recording_that_the_browser_cannot_play_has_its_numbers(page: Any, tmp_path: Path) -> None:
    sound = tmp_path / "clip.au"  # decoded by the server, by no browser
    sf.write(sound, np.random.default_rng(0).uniform(-0.1, 0.1, 16_000), 16_000)
    upload(page, sound)
    until(page, lambda: "cannot play the recording" in by(page, "media-note").text)
    assert page.find_elements("css selector", "#player *, .actions .primary") == []
    assert page.find_elements("css selector", ".block")


def test_the_theme_outlasts_the_page(page: Any, server: Server) -> None:
    theme = "return document.documentElement.dataset.theme"
    by(page, "theme").click()
    by(page, "theme").click()
    assert page.execute_script(theme) == "dark"
    page.get(server.url)
    until(page, lambda: page.execute_script(theme) == "dark")
    by(page, "theme").click()
    assert by(page, "theme").text == "Theme: auto"


def test_what_cannot_be_used_is_said(page: Any, tmp_path: Path) -> None:
    by(page, "predict").click()
    assert "nothing to judge yet" in by(page, "error").text
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound at all")
    by(page, "file").send_keys(str(broken))
    by(page, "predict").click()
    until(page, lambda: "broken.wav: not a media file" in by(page, "error").text)
    assert not by(page, "result").is_displayed()
    assert by(page, "predict").get_attribute("aria-disabled") == "false"


def test_it_says_what_it_is_and_what_the_law_says(page: Any) -> None:
    text = page.find_element("tag name", "body").text
    for part in ("estimate and can be wrong", "at work or in education is prohibited", "Art. 5(1)(f)", "Art. 50(3)"):
        assert part in text


def test_a_server_with_a_token_asks_for_it(browser: Any, page: Any, tmp_path: Path, example_clip: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    file = tmp_path / "tokens"
    file.write_text(TOKEN)
    guarded = Server(tmp_path / "state", "--token-file", str(file), "--max-job-mb", "0.2")
    try:
        browser.get(guarded.url)
        until(browser, lambda: by(browser, "token-dialog").is_displayed())
        by(browser, "token").send_keys("another-token-than-that", Keys.ENTER)
        until(browser, lambda: by(browser, "token-refused").is_displayed())
        picture(browser, "token")
        by(browser, "token").send_keys(TOKEN, Keys.ENTER)
        until(browser, lambda: not by(browser, "token-dialog").is_displayed())
        upload(browser, example_clip)
        assert "Model: default" in by(browser, "facts").text
        large = tmp_path / "large.wav"
        large.write_bytes(bytes(300_000))
        by(browser, "file").send_keys(str(large))
        by(browser, "predict").click()
        assert "large.wav has 300 kB, and this server takes up to 200 kB" in by(browser, "error").text
    finally:
        guarded.stop()
        browser.get_log("browser")  # its 401 is no fault
        browser.get_log("performance")


def test_nothing_is_left_on_the_server(page: Any, server: Server, example_clip: Path) -> None:
    upload(page, example_clip)
    page.get("about:blank")
    time.sleep(0.5)
    with urllib.request.urlopen(f"{server.url}metrics") as answer:
        counts = answer.read().decode()
    assert 'emofuse_jobs{state="done"} 0.0' in counts
