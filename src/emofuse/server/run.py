"""Start a server."""

import fcntl
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from emofuse.errors import ConfigError
from emofuse.server.access import check_exposure
from emofuse.server.app import create_app
from emofuse.server.settings import ServerSettings

GRACE_S = 30
"""How long a server that is told to end waits for what runs; jobs are kept and go on with the next one."""


def serve(settings: ServerSettings, insecure: bool = False) -> None:
    """Serve until interrupted.

    Raises:
        ConfigError: A setting cannot be used, or another server uses the folder of its state.
    """
    check_exposure(settings, insecure)
    with only_one(settings.state):
        app = create_app(settings)
        print(f"emofuse: http://{settings.host}:{settings.port}/ (API: /docs)", file=sys.stderr)
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=10,
            h11_max_incomplete_event_size=64 * 1024,
            ws_max_size=1 << 20,
            server_header=False,
        )
        # uvicorn gives the signal back when it has ended; that must not keep temporary folders from being removed.
        signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
        uvicorn.Server(config).run()


@contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Hold the folder of a server's state for this one alone.

    Raises:
        ConfigError: It cannot be made, or is held.
    """
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (state / "lock").open("w")
    except OSError as error:
        raise ConfigError(f"--state {state}: cannot be used ({error.strerror})") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"--state {state}: another server uses it; give each a folder of its own") from None
        yield
