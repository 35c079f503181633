"""A real server and its page in a real browser; pictures of the page are left in ``runs/e2e``."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PICTURES = Path(__file__).parents[2] / "runs" / "e2e"
FAINT = (Path(__file__).parent / "faint.js").read_text(encoding="utf-8")


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


class Page:
    """The page as who uses it sees it.

    Attributes:
        driver: The browser.
        downloads: Folder of what it has saved.
    """

    def __init__(self, driver: Any, downloads: Path) -> None:
        self.driver, self.downloads = driver, downloads

    def open(self, url: str) -> None:
        self._size(1280, 900)
        self.driver.get(url)

    def by(self, identifier: str) -> Any:
        return self.driver.find_element("id", identifier)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def find_all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def active(self) -> Any:
        return self.driver.switch_to.active_element

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def until(self, condition: Callable[[], Any]) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 30, poll_frequency=0.05).until(lambda _: condition())

    def result(self) -> Any:
        self.until(lambda: self.by("result").is_displayed() or self.by("error").is_displayed())
        assert self.by("error").text == ""
        return self.by("result")

    def upload(self, clip: Path, words: str = "") -> None:
        self.by("file").send_keys(str(clip))
        self.by("words").send_keys(words)
        self.by("predict").click()
        self.result()

    def saved(self, name: str) -> str:
        until_s = time.monotonic() + 20
        while not (self.downloads / name).exists() and time.monotonic() < until_s:
            time.sleep(0.05)
        return (self.downloads / name).read_text(encoding="utf-8")

    def forget_faults(self) -> None:
        """What the console and the network have shown so far is not counted."""
        self.driver.get_log("browser")
        self.driver.get_log("performance")

    def picture(self, name: str) -> None:
        """The whole page at 1280 and 390 pixels, light and dark; it must not scroll sideways, and be readable."""
        for theme in ("light", "dark"):
            self.run("window.emofuseViewer.setTheme(arguments[0])", theme)
            assert self.run(FAINT) == []
            self._picture(f"{name}-{theme}")
        self.run("window.emofuseViewer.setTheme('auto')")

    def _picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        for width in (1280, 390):
            self._size(width, 900)
            time.sleep(0.2)
            self.run("scrollTo(0, 0)")
            self._size(width, self.run("return document.documentElement.scrollHeight"))
            time.sleep(0.3)
            self.driver.save_screenshot(str(PICTURES / f"{name}-{width}.png"))
            assert self.run("return document.documentElement.scrollWidth") <= width
        self._size(1280, 900)

    def _size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@pytest.fixture(scope="session")
def start_server() -> Callable[..., Server]:
    """Starts another server: a folder for its state, and options."""
    return Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("state"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser(open_browser: Callable[..., Any], example_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    driver = open_browser(
        "--hide-scrollbars",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={example_clip}",
    )
    downloads = tmp_path_factory.mktemp("downloads")
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    return Page(driver, downloads)


@pytest.fixture
def page(browser: Page, server: Server) -> Page:
    browser.open(server.url)
    browser.forget_faults()
    return browser


@pytest.fixture(autouse=True)
def nothing_goes_wrong_unseen(page: Page, server: Server) -> Iterator[None]:
    """Whatever a test did: no error in the browser's console, and not one request to anywhere else."""
    yield
    assert [entry for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    sent = [json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith((server.url, "data:", "blob:"))] == []
