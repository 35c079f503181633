"""The live connection: PCM and WebM in, provisional and final predictions out, and what is refused."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from fastapi.testclient import TestClient

import emofuse
from emofuse.media.audio import read_audio
from emofuse.predictor.live import Live
from emofuse.server import stream as stream_module
from emofuse.server.app import create_app
from emofuse.server.settings import ServerSettings


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = ServerSettings(state=tmp_path_factory.mktemp("state"), max_streams=2)
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        yield client


@pytest.fixture(scope="module")
def talk(example_clip: Path) -> np.ndarray:
    clip, pause = read_audio(example_clip), np.zeros(16_000, np.float32)
    return np.round(32767 * np.concatenate([clip, pause, clip, pause])).astype("<i2")


def webm(samples: np.ndarray) -> bytes:
    """As a browser's recorder sends it: WebM, Opus, no length in its header."""
    file = io.BytesIO()
    with av.open(file, "w", format="webm", options={"live": "1"}) as container:
        audio = container.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate = 16_000
        resampler = av.AudioResampler("flt", "mono", 48_000, frame_size=960)
        for out in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(audio.encode(out))
        container.mux(audio.encode(None))
    return file.getvalue()


def open_stream(client: TestClient, **start: Any) -> Any:
    socket = client.websocket_connect("ws://localhost/v1/stream")
    socket.__enter__()
    socket.send_json({"type": "start"} | start)
    return socket


def answers(socket: Any) -> list[dict[str, Any]]:
    """Everything until the end."""
    found = []
    while (message := json.loads(socket.receive_text()))["type"] not in ("done", "error"):
        found.append(message)
    found.append(message)
    socket.__exit__(None, None, None)
    return found


def send(socket: Any, content: bytes, size: int) -> None:
    for i in range(0, len(content), size):
        socket.send_bytes(content[i : i + size])


def finals(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [m["prediction"] for m in found if m["type"] == "final"]


def test_finals_are_what_python_says(client: TestClient, talk: np.ndarray) -> None:
    live = Live(emofuse.load(), "talk")
    sound = talk.astype(np.float32) / 32768
    expected = [f.prediction for f in [*live.push(sound), *live.end()] if f.kind == "final"]
    socket = open_stream(client, source="talk")
    send(socket, talk.tobytes(), 3200)
    socket.send_json({"type": "end"})
    found = answers(socket)
    assert found[0] == {"type": "ready", "sample_rate": 16_000}
    assert found[-1] == {"type": "done"}
    assert {m["type"] for m in found} == {"ready", "provisional", "final", "done"}
    assert finals(found) == [p.to_dict() for p in expected if p is not None]
    assert all(m["latency_ms"] >= 0 for m in found[1:-1])


def test_webm_is_heard_as_it_comes(client: TestClient, talk: np.ndarray) -> None:
    socket = open_stream(client, format="webm", provisional=False)
    content = webm(talk)
    send(socket, content, 2000)
    socket.send_json({"type": "end"})
    found = answers(socket)
    assert found[-1] == {"type": "done"}, found[-1]
    by_pcm = open_stream(client, provisional=False)
    send(by_pcm, talk.tobytes(), 3200)
    by_pcm.send_json({"type": "end"})
    expected = finals(answers(by_pcm))
    assert len(finals(found)) == len(expected)
    for a, b in zip(finals(found), expected, strict=True):
        assert a["start_s"] == pytest.approx(b["start_s"], abs=0.15)
        assert a["end_s"] == pytest.approx(b["end_s"], abs=0.15)
        assert a["label"] == b["label"] or abs(a["confidence"] - b["confidence"]) < 0.2


def test_words_are_taken_in(client: TestClient, talk: np.ndarray) -> None:
    socket = open_stream(client, provisional=False)
    socket.send_json({"type": "text", "text": "I miss her.", "speaker": "Ben"})
    send(socket, talk.tobytes(), 3200)
    socket.send_json({"type": "end"})
    first = finals(answers(socket))[0]
    assert (first["text"], first["speaker"]) == ("I miss her.", "Ben")
    assert first["modalities"] == ["speech", "text"]


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("not json", "Expecting value"),
        ("{}", "type: Field required"),
        ('{"type": "text", "text": "a"}', "type: Input should be 'start'"),
        ('{"type": "start", "format": "mp3"}', "format: Input should be 'pcm16' or 'webm'"),
        ('{"type": "start", "more": 1}', "more: Extra inputs"),
        (b"\0\0", "need .* first"),
    ],
)
def test_a_wrong_beginning_is_told_why(client: TestClient, message: str | bytes, says: str) -> None:
    with client.websocket_connect("ws://localhost/v1/stream") as socket:
        socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message)
        answer = json.loads(socket.receive_text())
    assert answer["type"] == "error"
    import re

    assert re.search(says, answer["detail"]), answer


@pytest.mark.parametrize(
    ("start", "message", "says"),
    [
        ({}, b"\0\0\0", "need an even number"),
        ({}, '{"type": "text", "text": ""}', "text: String should have at least 1"),
        ({"format": "webm"}, b"this is no WebM at all, " * 50, "cannot be decoded"),
    ],
)
def test_wrong_messages_are_told_why(client: TestClient, start: dict, message: str | bytes, says: str) -> None:
    socket = open_stream(client, **start)
    socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message)
    if start:
        socket.send_json({"type": "end"})
    found = answers(socket)
    assert found[-1]["type"] == "error"
    assert says in found[-1]["detail"]


def test_streams_are_counted_and_bounded(client: TestClient) -> None:
    one, two = open_stream(client), open_stream(client)
    assert one.receive_json()["type"] == two.receive_json()["type"] == "ready"
    assert "emofuse_streams 2.0" in client.get("/metrics").text
    third = client.websocket_connect("ws://localhost/v1/stream")
    with third as socket:
        assert "too many streams" in socket.receive_json()["detail"]
    for socket in (one, two):
        socket.send_json({"type": "end"})
        answers(socket)
    assert "emofuse_streams 0.0" in client.get("/metrics").text


def test_who_is_silent_is_let_go(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "IDLE_S", 0.2)
    found = answers(open_stream(client))
    assert "nothing came for 0.2 s" in found[-1]["detail"]


def test_a_stream_has_an_end(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = client.app.state.settings  # type: ignore[attr-defined]
    monkeypatch.setattr(client.app.state, "settings", replace(settings, max_job_s=1.0))  # type: ignore[attr-defined]
    socket = open_stream(client)
    socket.send_bytes(bytes(64_000))
    assert "begin again" in answers(socket)[-1]["detail"]


def test_the_command_line_goes_through_a_server(
    server: Any, example_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from emofuse.interfaces.listen import follow, follow_server, replay

    follow_server(replay(example_clip, 100), server.url, None, "hello.wav", as_json=True)
    by_server = capsys.readouterr().out
    follow(replay(example_clip, 100), emofuse.load(), "hello.wav", as_json=True)
    here = capsys.readouterr().out
    (a,), (b,) = ([json.loads(line)["prediction"] for line in text.splitlines()] for text in (by_server, here))
    assert a["probabilities"] == pytest.approx(b["probabilities"], abs=0.01)  # 16-bit samples on the way
    assert (a["start_s"], a["end_s"]) == (b["start_s"], b["end_s"])
