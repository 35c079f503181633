"""A bounded load on a server of its own, over the loopback: requests a second, how quickly, errors, memory.

    python benchmarks/load.py CLIP --clients 1 8 64 --seconds 30 [--json FILE]

Each client sends the clip again as soon as it has its answer. One request in ten is not a good one: an upload that
trickles, one that is broken off, one that is too large. A 503 is no error: the queue is full, and the client comes
again after `Retry-After`; an error is any other answer that is not the one to expect, or none.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from emofuse.media.audio import audio_duration_s

KINDS = ("good",) * 27 + ("slow", "aborted", "large")
MAX_MB = 2
HEAD = """\
| clients | requests/s | p50 ms | p95 ms | p99 ms | refused (503) | odd, as expected | errors | memory, MB |
|---|---|---|---|---|---|---|---|---|"""


@dataclass
class Tally:
    """What was answered.

    Attributes:
        seconds: From request to answer, of good requests.
        refused: How many were told to come again.
        errors: What went wrong, and how often.
        odd: How many bad requests were answered as they should.
    """

    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    odd: int = 0

    def error(self, what: str) -> None:
        """Count an error."""
        self.errors[what] = self.errors.get(what, 0) + 1


async def client(http: httpx.AsyncClient, clip: bytes, until: float, tally: Tally, seed: int) -> None:
    """Send one request after the other."""
    rng = random.Random(seed)
    while time.monotonic() < until:
        kind = rng.choice(KINDS)
        try:
            await {"good": good, "slow": slow, "aborted": aborted, "large": large}[kind](http, clip, tally)
        except httpx.HTTPError as error:
            tally.error(f"{kind}: {type(error).__name__}")


async def good(http: httpx.AsyncClient, clip: bytes, tally: Tally) -> None:
    """A good request."""
    began = time.monotonic()
    answer = await http.post("/v1/predict", files={"media": ("clip.wav", clip)})
    if answer.status_code == 200 and answer.json()["predictions"]:
        tally.seconds.append(time.monotonic() - began)
    elif answer.status_code == 503:
        tally.refused += 1
        await asyncio.sleep(float(answer.headers["retry-after"]) * random.random())
    else:
        tally.error(f"good: {answer.status_code}")


async def slow(http: httpx.AsyncClient, clip: bytes, tally: Tally) -> None:
    """An upload that trickles for two seconds."""

    async def trickle() -> Any:
        for i in range(10):
            yield clip[i * len(clip) // 10 : (i + 1) * len(clip) // 10]
            await asyncio.sleep(0.2)

    answer = await http.post("/v1/predict?name=clip.wav", content=trickle(), headers={"Content-Type": "audio/wav"})
    expect(answer, (200, 503), "slow", tally)


async def aborted(http: httpx.AsyncClient, clip: bytes, tally: Tally) -> None:
    """One that is broken off."""

    async def broken_off() -> Any:
        yield clip[:1000]
        raise ConnectionAbortedError

    try:
        await http.post("/v1/predict?name=clip.wav", content=broken_off(), headers={"Content-Type": "audio/wav"})
    except ConnectionAbortedError:
        tally.odd += 1


async def large(http: httpx.AsyncClient, _clip: bytes, tally: Tally) -> None:
    """One that is larger than the server takes."""
    content = bytes((MAX_MB + 1) * 1_000_000)
    try:
        answer = await http.post("/v1/predict?name=clip.wav", content=content, headers={"Content-Type": "audio/wav"})
        expect(answer, (413, 503), "large", tally)
    except (httpx.WriteError, httpx.ReadError):  # the server has answered and closed before all was sent
        tally.odd += 1


def expect(answer: httpx.Response, codes: tuple[int, ...], kind: str, tally: Tally) -> None:
    """Count an answer to an odd request."""
    if answer.status_code in codes:
        tally.odd += 1
    else:
        tally.error(f"{kind}: {answer.status_code}")


def memory_mb(pid: int) -> float:
    """Memory of a process and those it has started that is theirs alone, MB; 0 where the system does not say."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            own, parent = int(stat.parent.name), int(stat.read_text().rpartition(")")[2].split()[1])
            if pid in (own, parent):
                lines = (stat.parent / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000
        except (OSError, ValueError):
            continue
    return total


async def load(url: str, clip: bytes, n_clients: int, seconds: float, pid: int) -> tuple[Tally, list[float]]:
    """Run clients for a time; what they were answered, and memory each second."""
    tally, memory = Tally(), []
    until = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as http:
        clients = [asyncio.create_task(client(http, clip, until, tally, i)) for i in range(n_clients)]
        while any(not c.done() for c in clients):
            memory.append(await asyncio.to_thread(memory_mb, pid))
            await asyncio.sleep(1)
        await asyncio.gather(*clients)
    return tally, memory


def summary(tally: Tally, memory: list[float], n_clients: int, seconds: float, clip_s: float) -> dict[str, Any]:
    """The numbers of one load."""
    ms = 1000 * np.array(tally.seconds or [np.nan])
    n_errors = sum(tally.errors.values())
    n_all = len(tally.seconds) + tally.refused + tally.odd + n_errors
    third = max(1, len(memory) // 3)
    return {
        "clients": n_clients,
        "requests_per_s": round(len(tally.seconds) / seconds, 1),
        "audio_per_s": round(len(tally.seconds) * clip_s / seconds, 1),
        **{f"p{q}_ms": round(float(np.percentile(ms, q))) for q in (50, 95, 99)},
        "refused": tally.refused,
        "odd": tally.odd,
        "errors": tally.errors,
        "error_share": n_errors / max(n_all, 1),
        "memory_mb": [round(float(np.median(memory[:third]))), round(float(np.median(memory[-third:])))],
    }


def start(state: str) -> tuple[subprocess.Popen[bytes], str]:
    """A server on a free port."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    options = ["--port", str(port), "--state", state, "--max-mb", str(MAX_MB)]
    server = subprocess.Popen([sys.executable, "-m", "emofuse", "serve", *options], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                break
        except httpx.TransportError:
            time.sleep(0.1)
    return server, url


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    clip, clip_s = arguments.clip.read_bytes(), audio_duration_s(arguments.clip)
    print(f"{arguments.clip.name}, {clip_s:.1f} s, {arguments.seconds:g} s of load each, {os.cpu_count()} cores")
    print(HEAD)
    found = []
    with tempfile.TemporaryDirectory() as state:
        server, url = start(state)
        try:
            for n in arguments.clients:
                tally, memory = asyncio.run(load(url, clip, n, arguments.seconds, server.pid))
                row = summary(tally, memory, n, arguments.seconds, clip_s)
                found.append(row)
                told = ", ".join(f"{k} {v}" for k, v in row["errors"].items()) or "none"
                keys = ("clients", "requests_per_s", "p50_ms", "p95_ms", "p99_ms", "refused", "odd")
                cells = [row[key] for key in keys]
                print("|", " | ".join(map(str, [*cells, told, "{} to {}".format(*row["memory_mb"])])), "|", flush=True)
        finally:
            server.terminate()
            server.wait()
        left = [str(p) for p in Path(state).glob("spool/*")]
        print(f"uploads left behind: {len(left)}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
