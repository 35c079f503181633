"""Shared test settings: one CPU thread, and the real corpora when EMOFUSE_DATA names their folder."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

# Two OpenMP threads stall LSTM training whenever another process uses a core; one is faster here.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Name the test that leaves torch with more threads: results of later ones would round differently."""
    yield
    assert torch.get_num_threads() == 1


@pytest.fixture(scope="session")
def corpora_dir() -> Path:
    """Folder of the real corpora; tests that ask for it are skipped, visibly, where it is not set."""
    value = os.environ.get("EMOFUSE_DATA")
    if not value:
        pytest.skip("EMOFUSE_DATA is not set: no real corpora here")
    return Path(value)


@pytest.fixture(scope="session")
def example_clip() -> Path:
    """The clip that the repository ships: a synthetic voice, about two seconds."""
    return Path(__file__).parents[1] / "examples" / "hello.wav"


@pytest.fixture(scope="session")
def open_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Opens a chromium with further flags; skips, visibly, where it, its driver or selenium is not installed."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs chromium and chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    quiet = ("quic", "background-networking", "component-update", "sync", "gpu")
    flags = ["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)]

    with ExitStack() as stack:

        def start(*more: str) -> Any:
            options = webdriver.ChromeOptions()
            options.binary_location = chromium
            for flag in (*flags, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", *more):
                options.add_argument(flag)
            options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
            browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
            stack.callback(browser.quit)
            return browser

        yield start
