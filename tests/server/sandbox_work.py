"""Work for the sandbox of the tests: it is named by its module, so that it cannot live in a test."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.errors import DataError
from emofuse.server.sandbox import Tell


def echo(given: dict[str, Any], tell: Tell) -> dict[str, Any]:
    print("this must not be seen")
    tell("echoing", 0.5)
    Path("left.txt").write_text("x")
    return given | {"folder": str(Path.cwd()), "pid": os.getpid()}


def refuse(given: dict[str, Any], tell: Tell) -> dict[str, Any]:
    raise DataError("x.wav: no sound")


def fail(given: dict[str, Any], tell: Tell) -> dict[str, Any]:
    raise KeyError("a fault of ours")


def spin(given: dict[str, Any], tell: Tell) -> dict[str, Any]:
    while True:
        pass


def sleep(given: dict[str, Any], tell: Tell) -> dict[str, Any]:
    time.sleep(60)
    return {}


def eat(given: dict[str, Any], tell: Tell) -> dict[str, Any]:
    return {"sum": float(np.ones(given["n"]).sum())}


def write(given: dict[str, Any], tell: Tell) -> dict[str, Any]:
    Path("large").write_bytes(b"0" * given["n"])
    return {}


def die(given: dict[str, Any], tell: Tell) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}
