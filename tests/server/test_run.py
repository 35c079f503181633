"""A server that is told to end."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest

from emofuse.errors import ConfigError
from emofuse.interfaces.cli import main


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the server did not start")


def test_it_ends_in_order_and_leaves_no_temporary_files(tmp_path: Path, example_clip: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "emofuse", "serve", "--port", str(port), "--state", str(tmp_path)]
    with tempfile.TemporaryDirectory() as temporary:  # tmp_path is too long for the sockets in it
        process = subprocess.Popen(command, env=os.environ | {"TMPDIR": temporary}, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, process)
            answer = httpx.post(f"{url}/v1/predict", files={"media": example_clip.read_bytes()}, timeout=60)
            assert answer.status_code == 200
            process.terminate()
            assert process.wait(40) == 0
            assert list(Path(temporary).iterdir()) == []
        finally:
            process.kill()
            process.wait()
    assert not (tmp_path / "spool").exists()


def test_the_model_is_loaded_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*given: object, **more: object) -> None:
        raise ConfigError(f"{given} {more}")

    monkeypatch.setattr("emofuse.server.service.load", load)
    monkeypatch.setattr(
        "sys.argv", ["emofuse", "serve", "--engine", "torch", "--threshold", "0.7", "--state", str(tmp_path)]
    )
    with pytest.raises(SystemExit):
        main()
    assert "('default', 0.7, 'torch') {'n_threads': 1}" in capsys.readouterr().err
