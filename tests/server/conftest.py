"""A server that really listens, for what needs a connection of its own."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn

from emofuse.server.app import create_app
from emofuse.server.settings import ServerSettings


@dataclass(frozen=True)
class Listening:
    """A server at work.

    Attributes:
        url: Where.
        settings: Its own.
    """

    url: str
    settings: ServerSettings


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """One server for all tests that only ask it."""
    settings = ServerSettings(port=free_port(), state=tmp_path_factory.mktemp("server"), max_bytes=5_000_000)
    config = uvicorn.Config(create_app(settings), port=settings.port, log_level="error")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    until = time.monotonic() + 60
    while not running.started and time.monotonic() < until:
        time.sleep(0.02)
    yield Listening(f"http://127.0.0.1:{settings.port}", settings)
    running.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def docs() -> Path:
    return Path(__file__).parents[2] / "docs"
