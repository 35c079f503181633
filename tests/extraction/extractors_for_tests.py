"""Small extractors that a process of its own can make; imported by name through sys.path."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from emofuse.errors import DataError
from emofuse.features.extractor import Extractor


def rms(window: int = 160, log: Path | None = None, kill_at: float | None = None, wait_s: float = 0.0) -> Extractor:
    """RMS of each window; a file that ends at the level `kill_at` takes its process with it.

    Args:
        window: Samples a row.
        log: File that gets a byte for each call.
        kill_at: See above.
        wait_s: Seconds that each call takes.
    """

    def compute(x: np.ndarray) -> np.ndarray:
        if log is not None:
            with log.open("ab") as file:
                file.write(b".")
        time.sleep(wait_s)
        if kill_at is not None and abs(float(x[-1]) - kill_at) < 1e-3:
            os.kill(os.getpid(), signal.SIGKILL)
        if len(x) < 2 * window:
            raise DataError(f"rms: {len(x)} samples, need at least {2 * window}")
        return np.sqrt(np.mean(x[: len(x) // window * window].reshape(-1, window) ** 2, axis=1, keepdims=True))

    return Extractor("rms", "speech", ("rms",), 16_000 / window, "amplitude", compute, {"window": window})


def letters() -> Extractor:
    """Number of letters and of words of a text; fails in the way of a careless library for '!'."""

    def compute(text: str) -> np.ndarray:
        if text == "!":
            raise ValueError("not\na word")
        if text == "bug":
            return np.zeros({}["missing"])
        return np.array([sum(map(str.isalpha, text)), np.nan if text == "nan" else len(text.split())])

    return Extractor("letters", "text", ("letters", "words"), None, "count", compute)


def brightness() -> Extractor:
    """Mean of each picture."""
    return Extractor(
        "brightness",
        "visual",
        ("mean",),
        5.0,
        "grey value",
        lambda frames: np.array([[frame.image.mean()] for frame in frames]),
        frame_rate=5.0,
    )
