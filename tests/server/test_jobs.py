"""Jobs: from upload to result, over restarts and kills, and what is left of them: nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

import emofuse
from emofuse.server.app import create_app
from emofuse.server.settings import ServerSettings


@pytest.fixture
def settings(tmp_path: Path) -> ServerSettings:
    return ServerSettings(state=tmp_path / "state", job_ttl_s=3600)


@contextmanager
def running(settings: ServerSettings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        yield client


def ended(client: TestClient | httpx.Client, job_id: str, timeout_s: float = 60) -> dict[str, Any]:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        job = client.get(f"/v1/jobs/{job_id}").json()
        if job["state"] in ("done", "failed"):
            return job
        time.sleep(0.05)
    raise TimeoutError(job)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory, example_clip: Path) -> Path:
    """Two minutes: the example again and again, with pauses."""
    waveform, rate = soundfile.read(example_clip, dtype="float32")
    path = tmp_path_factory.mktemp("clips") / "long.flac"
    soundfile.write(path, np.tile(np.concatenate([waveform, np.zeros(rate, np.float32)]), 30), rate)
    return path


def test_a_job_gives_what_a_request_gives(settings: ServerSettings, example_clip: Path) -> None:
    with running(settings) as client:
        files = {"media": ("hello.wav", example_clip.read_bytes())}
        taken = client.post("/v1/jobs", files=files, data={"text": "So happy!", "format": "srt"})
        assert taken.status_code == 202
        job_id = taken.json()["id"]
        assert taken.headers["location"] == f"/v1/jobs/{job_id}"
        job = ended(client, job_id)
        assert job["state"] == "done"
        assert job["expires_at"] > job["ended_at"] > job["created_at"]
        assert job["result"] == client.post("/v1/predict", files=files, data={"text": "So happy!"}).json()
        assert client.get(f"/v1/jobs/{job_id}/result").text.startswith("1\n00:00:00")
        assert client.get(f"/v1/jobs/{job_id}/result", params={"format": "json"}).json() == job["result"]
        assert client.get(f"/v1/jobs/{job_id}/result", params={"format": "xls"}).status_code == 422
        assert not any((settings.state / "jobs").iterdir())
        assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
        assert client.get(f"/v1/jobs/{job_id}").status_code == 404
        assert client.delete(f"/v1/jobs/{job_id}").status_code == 404


def test_a_job_that_fails_says_why(settings: ServerSettings) -> None:
    with running(settings) as client:
        job_id = client.post("/v1/jobs", files={"media": ("a.wav", b"nothing of the kind")}).json()["id"]
        job = ended(client, job_id)
        assert job["state"] == "failed"
        assert job["error"].startswith("a.wav: ")
        assert client.get(f"/v1/jobs/{job_id}/result").status_code == 409
        assert client.post("/v1/jobs", files={"segments": ("a.csv", b"")}).status_code == 422
        assert not any((settings.state / "jobs").iterdir())


def test_a_job_can_be_stopped(settings: ServerSettings, long_clip: Path) -> None:
    with running(settings) as client:
        job_id = client.post("/v1/jobs", files={"media": (long_clip.name, long_clip.read_bytes())}).json()["id"]
        waiting = client.post("/v1/jobs", files={"media": (long_clip.name, long_clip.read_bytes())}).json()["id"]
        until = time.monotonic() + 30
        while (job := client.get(f"/v1/jobs/{job_id}").json())["state"] == "queued" and time.monotonic() < until:
            time.sleep(0.02)
        assert job["state"] == "running"
        assert client.get(f"/v1/jobs/{job_id}/result").status_code == 409
        assert client.delete(f"/v1/jobs/{waiting}").status_code == 204
        assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
        while any((settings.state / "jobs").iterdir()) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any((settings.state / "jobs").iterdir())


def test_results_expire_and_jobs_are_bounded(
    settings: ServerSettings, example_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(replace(settings, max_jobs=0)) as client:
        files = {"media": ("hello.wav", example_clip.read_bytes())}
        assert client.post("/v1/jobs", files=files).status_code == 503
    with running(settings) as client:
        job_id = client.post("/v1/jobs", files=files).json()["id"]
        expires_at = datetime.fromisoformat(ended(client, job_id)["expires_at"]).timestamp()
        for now, code in ((expires_at - 1, 200), (expires_at + 1, 404)):
            clock = SimpleNamespace(time=lambda now=now: now, monotonic=time.monotonic)
            monkeypatch.setattr("emofuse.server.jobs.time", clock)
            assert client.get(f"/v1/jobs/{job_id}").status_code == code


def test_jobs_outlast_the_server(settings: ServerSettings, long_clip: Path, example_clip: Path) -> None:
    with running(settings) as client:
        first = client.post("/v1/jobs", files={"media": (long_clip.name, long_clip.read_bytes())}).json()["id"]
        second = client.post("/v1/jobs", files={"media": ("hello.wav", example_clip.read_bytes())}).json()["id"]
        time.sleep(0.3)
    (settings.state / "jobs" / "cut-off").mkdir()  # an upload that the end of a server has cut off
    (settings.state / "spool" / "request").mkdir(parents=True)
    with running(settings) as client:
        assert not (settings.state / "jobs" / "cut-off").exists()
        assert not any((settings.state / "spool").iterdir())
        assert ended(client, first)["state"] == "done"
        assert ended(client, second)["result"]["predictions"][0]["source"] == "hello.wav"
        assert len(ended(client, first)["result"]["predictions"]) == len(emofuse.load().predict(long_clip))


def test_a_job_that_ends_the_server_each_time_is_given_up(settings: ServerSettings, example_clip: Path) -> None:
    with running(settings) as client:
        jobs = client.app.state.jobs  # type: ignore[attr-defined]
        job_id = client.post("/v1/jobs", files={"media": ("hello.wav", example_clip.read_bytes())}).json()["id"]
        ended(client, job_id)
        jobs._set(job_id, "state = 'running', ended = NULL, result = NULL, attempts = 3")
    with running(settings) as client:
        job = ended(client, job_id)
        assert job["state"] == "failed"
        assert "given up" in job["error"]


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(state: Path, port: int) -> "tuple[subprocess.Popen[bytes], httpx.Client]":
    command = [sys.executable, "-m", "emofuse", "serve", "--state", str(state), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if client.get("/readyz").status_code == 200:
                return process, client
        except httpx.TransportError:
            time.sleep(0.1)
    client.close()
    process.kill()
    raise TimeoutError("the server did not start")


def children(pid: int) -> list[int]:
    """Processes that a process has started, at any depth."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == pid:
            found += [int(stat.parent.name), *children(int(stat.parent.name))]
    return found


def is_decoder(pid: int) -> bool:
    try:
        return b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_killed_decoders_and_a_killed_server_lose_no_job(
    tmp_path: Path, free_port: int, long_clip: Path, example_clip: Path
) -> None:
    state = tmp_path / "state"
    process, client = start(state, free_port)
    job_id = client.post("/v1/jobs", files={"media": (long_clip.name, long_clip.read_bytes())}).json()["id"]
    while client.get(f"/v1/jobs/{job_id}").json()["state"] == "queued":
        time.sleep(0.01)
    # The decoder of the job, or the process that it was forked from, or both.
    while not (decoders := [pid for pid in children(process.pid) if is_decoder(pid)]):
        time.sleep(0.01)
    for pid in decoders:
        os.kill(pid, signal.SIGKILL)
    answer = client.post("/v1/predict", files={"media": ("hello.wav", example_clip.read_bytes())})
    assert answer.status_code == 200
    process.kill()
    process.wait()
    client.close()
    process, client = start(state, free_port)
    try:
        job = ended(client, job_id)
        assert job["state"] == "done", job["error"]
        assert not any((state / "spool").iterdir())
        assert not any((state / "jobs").iterdir())
    finally:
        client.close()
        process.terminate()
        assert process.wait(40) in (0, -signal.SIGTERM)


def test_two_servers_do_not_share_a_folder(tmp_path: Path) -> None:
    from emofuse.errors import ConfigError
    from emofuse.server.run import only_one

    with only_one(tmp_path), pytest.raises(ConfigError, match="another server uses it"), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_a_clip_does_not_wait_behind_what_is_long(
    settings: ServerSettings, long_clip: Path, example_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emofuse.server.jobs.SHORT", example_clip.stat().st_size)
    long = {"media": (long_clip.name, long_clip.read_bytes())}
    with running(settings) as client:
        first, second = (client.post("/v1/jobs", files=long).json()["id"] for _ in range(2))
        clip = client.post("/v1/jobs", files={"media": ("hello.wav", example_clip.read_bytes())}).json()["id"]
        job = ended(client, clip)
        assert job["state"] == "done"
        for other in (client.get(f"/v1/jobs/{job_id}").json() for job_id in (first, second)):
            assert other["state"] in ("running", "queued") or other["ended_at"] > job["ended_at"]
        for job_id in (first, second):
            client.delete(f"/v1/jobs/{job_id}")
