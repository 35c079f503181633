"""Processes of their own: a server under load, and how long it takes from nothing to the first result."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from emofuse.bench.setup import Setup
from emofuse.bench.sound import speech_like, write_recording
from emofuse.bench.timing import Contender, optional, quartiles
from emofuse.client import Client
from emofuse.errors import DataError

START_S = 120.0
"""Longest that a server may take until it answers."""

CLIP_S = 3.0


def server(setup: Setup) -> dict[str, Any]:
    """Requests over the loopback to `emofuse serve` by several clients, a clip of 3 s each."""
    sizes = setup.sizes
    clip = write_recording(setup.folder / "clip.wav", speech_like(CLIP_S), 16_000, 1)
    latencies: list[float] = []
    with ExitStack() as stack:
        url = stack.enter_context(_our_server(setup.folder / "state"))
        clients = [stack.enter_context(Client(url)) for _ in range(sizes.n_clients)]

        def ask(number: int) -> None:
            began = time.perf_counter()
            clients[number % len(clients)].predict(clip)
            latencies.append(time.perf_counter() - began)

        pool = stack.enter_context(ThreadPoolExecutor(sizes.n_clients))
        ours = Contender("emofuse serve", lambda: list(pool.map(ask, range(sizes.n_requests))), sizes.n_requests)
        plain = setup.references.use("plain_server", lambda module: _plain(stack, module, clip))
        reference = optional("wav2vec2-base in http.server", plain)
        entry = setup.measure("requests/s", ours, reference)
    low, median, high = (1000 * s for s in quartiles(latencies))
    return entry | {"clients": sizes.n_clients, "latency_ms": {"median": median, "quartiles": [low, high]}}


def _plain(stack: ExitStack, module: ModuleType, clip: Path) -> Callable[[], object]:
    """A request of the reference; it takes them one by one, so that one client is as quick as several."""
    process = stack.enter_context(_started([str(module.__file__)], stdout=subprocess.PIPE))
    assert process.stdout is not None
    port = int(process.stdout.readline())
    content = clip.read_bytes()

    def ask() -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", content, timeout=START_S) as answer:
            return answer.read()

    return ask


@contextmanager
def _our_server(state: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = ["-m", "emofuse", "serve", "--port", str(port), "--state", str(state)]
    with _started(command) as process, Client(url) as client:
        until = time.monotonic() + START_S
        while not client.is_ready():
            if process.poll() is not None or time.monotonic() > until:
                raise DataError("emofuse serve does not start here; try it by itself to see why")
            time.sleep(0.1)
        yield url


@contextmanager
def _started(arguments: Sequence[str], stdout: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that is told to end on leaving."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=stdout)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def cold_start(setup: Setup) -> dict[str, Any]:
    """Fresh processes: the first prediction of a clip of 3 s; `--help` and `import emofuse` are stages."""
    clip = write_recording(setup.folder / "clip.wav", speech_like(CLIP_S), 16_000, 1)
    first = partial(run_python, "-m", "emofuse", "predict", str(clip))
    plain = setup.references.use("wav2vec2_base", lambda module: _fresh_encoder(module, setup.folder, clip))
    reference = optional("wav2vec2-base from its weights", plain)
    entry = setup.measure("s", Contender("emofuse predict", first), reference)
    stages = {
        "python alone": partial(run_python, "-c", "pass"),
        "emofuse --help": partial(run_python, "-m", "emofuse", "--help"),
        "import emofuse": partial(run_python, "-c", "import emofuse"),
    }
    return entry | {"stages_ms": {**setup.stages_ms(stages), "first prediction": 1000 * entry["ours"]}}


def _fresh_encoder(module: ModuleType, folder: Path, clip: Path) -> Callable[[], None]:
    weights = folder / "wav2vec2"
    module.save(module.make(), weights)
    return partial(run_python, str(module.__file__), str(weights), str(clip))


def run_python(*arguments: str) -> None:
    """A fresh Python process.

    Raises:
        DataError: It failed.
    """
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"python {' '.join(arguments)} failed: {' '.join(done.stderr.split())[-300:]}")
