"""The client: what it gives is what Python, the command line and HTTP give; and what it says when it cannot."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

import emofuse
from emofuse.client import Client, ServerError
from emofuse.errors import ConfigError, DataError

SAID = "I miss her so much."


@pytest.fixture
def client(server: Any) -> Any:
    with Client(server.url) as client:
        yield client


def test_python_command_line_http_and_client_agree(client: Client, server: Any, example_clip: Path) -> None:
    by_python = [p.to_dict() for p in emofuse.load().predict(example_clip, SAID)]
    command = [sys.executable, "-m", "emofuse", "predict", str(example_clip), "--text", SAID, "--format", "json"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    by_command = [json.loads(line) for line in output.splitlines()]
    with example_clip.open("rb") as file:
        answer = httpx.post(f"{server.url}/v1/predict", files={"media": file}, data={"text": SAID}).json()
    by_client = [p.to_dict() for p in client.predict(example_clip, SAID)]
    assert by_python == by_command
    nameless = [[p | {"source": ""} for p in found] for found in (by_python, answer["predictions"], by_client)]
    assert nameless[0] == nameless[1] == nameless[2]
    assert emofuse.Timeline.from_dict(answer).to_dict() == answer


def test_words_alone_and_files_beside(client: Client, example_clip: Path, tmp_path: Path) -> None:
    assert client.predict(text=SAID)[0].label == "sad"
    segments = tmp_path / "s.csv"
    segments.write_text("start_s,end_s,speaker,text\n0.2,1.4,Anna,I miss her.\n1.5,2.8,Ben,\n")
    found = client.predict(example_clip, segments=segments)
    assert [(p.speaker, p.text) for p in found] == [("Anna", "I miss her."), ("Ben", None)]
    assert len(client.predict(example_clip, whole=True)) == 1


def test_a_job(client: Client, example_clip: Path) -> None:
    job = client.submit(example_clip, SAID)
    timeline = job.wait(timeout_s=60)
    assert timeline == client.predict(example_clip, SAID)
    assert job.result("srt").startswith("1\n")
    assert client.job(job.id).status()["state"] == "done"
    job.delete()
    with pytest.raises(DataError, match="no such job"):
        job.status()


def test_what_cannot_be_used_is_a_data_error(client: Client, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"^broken\.wav: "):
        client.predict(broken)
    with pytest.raises(DataError, match=r"^broken\.wav: "):
        client.submit(broken).wait()
    with pytest.raises(DataError, match="nothing to judge"):
        client.predict()
    with pytest.raises(DataError, match=r"none\.wav: No such file"):
        client.predict(tmp_path / "none.wav")
    with pytest.raises(DataError, match="without --asr"):
        client.predict(text="a", asr=True)


def test_the_model_and_readiness(client: Client) -> None:
    assert client.is_ready()
    assert client.models()[0]["classes"] == ["angry", "happy", "neutral", "sad"]


def test_nobody_there() -> None:
    with Client("http://127.0.0.1:9") as client:
        assert not client.is_ready()
        with pytest.raises(ServerError, match=r"http://127\.0\.0\.1:9: "):
            client.models()


def test_an_address_or_token_that_cannot_be_one() -> None:
    with pytest.raises(ConfigError, match=r"http://\[::1"):
        Client("http://[::1")
    with pytest.raises(ConfigError, match="token holds characters"):
        Client(token="schlüssel")


def test_a_web_page_is_no_answer(server: Any) -> None:
    with Client(server.url) as client, pytest.raises(ServerError, match="is that an emofuse server"):
        client.request("GET", "/docs")


class Moody(BaseHTTPRequestHandler):
    """Refuses twice, and remembers what it was sent."""

    sent: list[tuple[str | None, bytes]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.sent.append((self.headers["Authorization"], body))
        busy = len(self.sent) < 3
        content = {"detail": "busy"} if busy else {"source": "a", "duration_s": 1.0, "problems": [], "predictions": []}
        self.send_response(503 if busy else 200)
        if busy:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_busy_server_is_asked_again_with_the_whole_file(example_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moody = HTTPServer(("127.0.0.1", 0), Moody)
    thread = threading.Thread(target=moody.serve_forever)
    thread.start()
    monkeypatch.setenv("EMOFUSE_TOKEN", "from-the-environment")
    try:
        with Client(f"http://127.0.0.1:{moody.server_port}") as client:
            assert len(client.predict(example_clip)) == 0
    finally:
        moody.shutdown()
        thread.join()
        moody.server_close()
    assert [token for token, _ in Moody.sent] == 3 * ["Bearer from-the-environment"]
    assert all(example_clip.read_bytes() in body for _, body in Moody.sent)


def test_without_httpx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ConfigError, match=r"emofuse\[client\]"):
        Client()


def test_the_client_needs_no_torch() -> None:
    script = "import sys, emofuse; emofuse.Client(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
