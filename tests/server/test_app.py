"""The API: what it answers to good requests, to bad ones, and to hostile ones; and that nothing of them stays."""

import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

import emofuse
from emofuse.interfaces.formats import write_srt
from emofuse.server.app import create_app
from emofuse.server.settings import ServerSettings
from emofuse.server.uploads import safe_name

NO_TOKEN = "need a bearer token"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ServerSettings:
    return ServerSettings(state=tmp_path_factory.mktemp("state"), max_bytes=3_000_000, max_s=20, max_pixels=640 * 480)


@pytest.fixture(scope="module")
def client(settings: ServerSettings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_stays(settings: ServerSettings) -> Iterator[None]:
    """Whatever a request was, nothing of it is left when it has been answered."""
    yield
    assert not any((settings.state / "spool").iterdir())


def video(path: Path, width: int, height: int, seconds: float = 1.0, codec: str = "mpeg4") -> bytes:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, 10)
        for i in range(round(10 * seconds)):
            picture = np.full((height, width, 3), 20 * i % 255, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


def wav(seconds: float, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * rate)).astype(np.float32)
    soundfile.write(file, noise, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def test_the_answer_is_what_python_and_the_command_line_say(client: TestClient, example_clip: Path) -> None:
    expected = [p.to_dict() | {"source": "hello.wav"} for p in emofuse.load().predict(example_clip, "So happy!")]
    form = client.post(
        "/v1/predict", files={"media": ("hello.wav", example_clip.read_bytes())}, data={"text": "So happy!"}
    )
    assert form.status_code == 200, form.text
    assert form.json()["predictions"] == expected
    raw = client.post(
        "/v1/predict", params={"name": "hello.wav", "text": "So happy!"}, content=example_clip.read_bytes()
    )
    assert raw.json() == form.json()


def test_a_video_and_annotations_give_what_predict_gives(
    client: TestClient, example_clip: Path, tmp_path: Path
) -> None:
    content = video(tmp_path / "v.mp4", 96, 96)
    clip = tmp_path / "hello.wav"
    clip.write_bytes(example_clip.read_bytes())
    segments = tmp_path / "s.csv"
    segments.write_text("start_s,end_s,speaker\n0.2,1.1,Anna\n1.3,2.6,Ben\n")
    transcript = tmp_path / "t.srt"
    transcript.write_text("1\n00:00:00,200 --> 00:00:01,000\nI miss her.\n\n")
    sources = emofuse.predictor.Sources(segments=segments, transcript=transcript)
    expected = emofuse.load().predict(clip, sources=sources)
    files = {
        name: (p.name, p.read_bytes())
        for name, p in (("media", clip), ("segments", segments), ("transcript", transcript))
    }
    found = client.post("/v1/predict", files=files).json()
    assert [p | {"source": ""} for p in found["predictions"]] == [p.to_dict() | {"source": ""} for p in expected]
    assert [p["speaker"] for p in found["predictions"]] == ["Anna", "Ben"]
    silent = client.post("/v1/predict", files={"media": ("v.mp4", content)})
    assert silent.status_code == 422  # no face in it, and no sound
    assert silent.json()["detail"].startswith("v.mp4: ")


def test_words_alone_can_be_judged(client: TestClient) -> None:
    found = client.post("/v1/predict", data={"text": "I miss her so much."}).json()
    assert found["predictions"][0]["label"] == "sad"
    assert found["predictions"][0]["modalities"] == ["text"]


@pytest.mark.parametrize(
    ("name", "kind", "beginning"),
    [
        ("json", "application/json", "{"),
        ("text", "text/plain", "hello.wav"),
        ("csv", "text/csv", "source,"),
        ("textgrid", "text/plain", "File type"),
        ("eaf", "application/xml", "<?xml"),
        ("srt", "application/x-subrip", "1\n"),
        ("html", "text/html", "<!doctype html>"),
    ],
)
def test_formats(client: TestClient, example_clip: Path, name: str, kind: str, beginning: str) -> None:
    answer = client.post(
        "/v1/predict", files={"media": ("hello.wav", example_clip.read_bytes())}, data={"format": name}
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert answer.text.startswith(beginning)
    if name == "srt":
        assert answer.text == write_srt(emofuse.load().predict(example_clip))


def zip_bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 50_000_000)
    return file.getvalue()


def laughs() -> bytes:
    """An ELAN document whose one entity stands for 20 GB."""
    steps = "".join(f'<!ENTITY {b} "{10 * f"&{a};"}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True))
    kinds = f'<!DOCTYPE x [<!ENTITY a "{20 * "a"}">{steps}]>'
    return f'<?xml version="1.0"?>{kinds}<ANNOTATION_DOCUMENT>&j;</ANNOTATION_DOCUMENT>'.encode()


@pytest.mark.parametrize(
    ("files", "fields", "code", "says"),
    [
        ({}, {}, 422, "nothing to judge"),
        ({"media": ("a.wav", b"")}, {}, 422, "a.wav: "),
        ({"media": ("a.wav", zip_bomb())}, {}, 422, "a.wav: "),
        ({"media": ("a.mp4", pickle.dumps([print]))}, {}, 422, "a.mp4: "),
        ({"media": ("../../../etc/passwd", b"root:x:0")}, {}, 422, "passwd: "),
        ({"media": ("a.wav", wav(21))}, {}, 413, "21 s long"),
        ({"media": ("a.wav", wav(0.05))}, {}, 422, "a.wav: "),
        ({"media": ("a.wav", wav(100))}, {}, 413, "larger than 3 MB"),
        ({"media": ("a.wav", wav(1)), "segments": ("a.eaf", laughs())}, {}, 422, "a.eaf: "),
        ({"media": ("a.wav", wav(1)), "segments": ("a.csv", b"start_s,end_s\n5,6\n")}, {}, 422, "a.csv: nothing in it"),
        ({"media": ("a.wav", wav(1)), "other": ("b", b"")}, {}, 422, "file 'other': unknown"),
        ({"media": ("a.wav", wav(1))}, {"txt": "x"}, 422, "txt: "),
        ({"media": ("a.wav", wav(1))}, {"whole": "perhaps"}, 422, "whole: "),
        ({"media": ("a.wav", wav(1))}, {"format": "xls"}, 422, "format: Input should be 'json', 'text'"),
        ({"media": ("a.wav", wav(1))}, {"text": " "}, 422, "the text is empty"),
        ({"media": ("a.wav", wav(1))}, {"asr": "true"}, 422, "without --asr"),
        ({"media": ("a.wav", wav(1))}, {"text": "x" * 100_001}, 422, "text: "),
    ],
)
def test_bad_requests_are_told_why_in_one_line(
    client: TestClient, files: dict, fields: dict, code: int, says: str
) -> None:
    answer = client.post("/v1/predict", files=files, data=fields)
    assert answer.status_code == code, answer.text
    detail = answer.json()["detail"]
    assert says in detail
    assert "\n" not in detail
    assert "spool" not in detail
    assert "../" not in detail


def test_pictures_are_not_decoded_beyond_the_limit(client: TestClient, tmp_path: Path) -> None:
    answer = client.post("/v1/predict", files={"media": ("v.mp4", video(tmp_path / "v.mp4", 800, 640))})
    assert answer.status_code == 413
    assert "800 x 640" in answer.json()["detail"]


def test_a_picture_that_claims_to_be_huge_is_refused(client: TestClient) -> None:
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0" + b"\0\0\0\0"
    assert client.post("/v1/predict", files={"media": ("a.png", header)}).status_code in (413, 422)


@pytest.mark.parametrize(
    "body", [b"", b"no boundary here", b"--x\r\n", b"--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--"]
)
def test_malformed_bodies(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/predict", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert 400 <= answer.status_code < 500
    assert isinstance(answer.json()["detail"], str)


def test_a_body_without_end_is_cut_off(client: TestClient) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 50_000_000:
            sent += 100_000
            yield b"0" * 100_000

    assert client.post("/v1/predict", content=endless()).status_code == 413


def test_other_names_and_pages_of_others_are_refused(client: TestClient) -> None:
    rebound = client.get("/v1/models", headers={"Host": "evil.example:8000"})
    assert rebound.status_code == 403
    assert "evil.example" in rebound.json()["detail"]
    posted = client.post("/v1/predict", data={"text": "x"}, headers={"Origin": "http://evil.example"})
    assert posted.status_code == 403
    own = client.post("/v1/predict", data={"text": "I am glad."}, headers={"Origin": "http://localhost"})
    assert own.status_code == 200


def test_what_it_tells_of_itself(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}
    (model,) = client.get("/v1/models").json()
    assert model["classes"] == ["angry", "happy", "neutral", "sad"]
    assert model["card"].startswith("# The model that ships")
    page = client.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text  # it works without a network
    client.post("/v1/predict", data={"text": "I am glad."})
    counted = client.get("/metrics").text
    assert 'emofuse_requests_total{method="POST",route="/v1/predict",status="200"}' in counted
    assert "emofuse_queue 0.0" in counted
    assert client.get("/nothing").status_code == 404


def test_a_full_queue_is_said_at_once(client: TestClient, settings: ServerSettings) -> None:
    from contextlib import ExitStack

    service = client.app.state.service  # type: ignore[attr-defined]
    with ExitStack() as stack:
        for _ in range(settings.workers + settings.queue):
            stack.enter_context(service.place())
        answer = client.post("/v1/predict", data={"text": "I am glad."})
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
    assert client.post("/v1/predict", data={"text": "I am glad."}).status_code == 200


@given(st.text(max_size=400))
def test_any_name_stays_where_it_is_put(name: str) -> None:
    safe = safe_name(name)
    assert safe not in ("", ".", "..")
    assert not set(safe) & set("/\\\0\n")
    assert len(safe.encode()) <= 255
    assert safe_name(safe) == safe


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("talk.mp4", "talk.mp4"),
        ("Größe 1 (b).wav", "Größe 1 (b).wav"),
        ("../../x.wav", "x.wav"),
        ("C:\\a\\b.wav", "b.wav"),
        ("..", "upload"),
        ("", "upload"),
        ("a\0b\n.wav", "a_b_.wav"),
    ],
)
def test_names_are_kept_as_far_as_they_are_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_the_openapi_document_is_json(client: TestClient) -> None:
    paths = json.loads(client.get("/openapi.json").text)["paths"]
    assert {"/v1/predict", "/v1/jobs", "/v1/jobs/{job_id}", "/v1/models", "/metrics"} <= set(paths)


def test_uploads_are_bounded_too(client: TestClient, settings: ServerSettings) -> None:
    from contextlib import ExitStack

    service = client.app.state.service  # type: ignore[attr-defined]
    with ExitStack() as stack:
        for _ in range(settings.max_uploads):
            stack.enter_context(service.folder())
        assert client.post("/v1/predict", data={"text": "I am glad."}).status_code == 503
        assert client.get("/readyz").status_code == 200  # they take no place in the queue


def trickle(n_pieces: int, pause_s: float) -> Iterator[bytes]:
    import time

    for _ in range(n_pieces):
        yield b"0"
        time.sleep(pause_s)


def test_slow_uploads_are_ended(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a real socket, as the client of the other tests hands a body over whole."""
    import socket
    import threading
    import time

    import uvicorn

    from emofuse.server import uploads

    monkeypatch.setattr(uploads, "PATIENCE_S", 0.3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(client.app, port=port, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
            with suppress(OSError):  # it has hung up
                for piece in trickle(20, 0.05):
                    slow.sendall(piece)
            assert b" 408 " in slow.recv(1000)
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nabc")
        until = time.monotonic() + 60
        while 'status="499"' not in client.get("/metrics").text:
            assert time.monotonic() < until
            time.sleep(0.02)
    finally:
        server.should_exit = True
        thread.join()


def test_a_recording_that_is_called_a_form_is_a_recording(client: TestClient, example_clip: Path) -> None:
    """As `curl --data-binary @FILE` does when it is not told better."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.post("/v1/predict", content=example_clip.read_bytes(), headers=headers)
    assert answer.status_code == 200
    assert answer.json()["duration_s"] > 3
    assert client.post("/v1/predict", content=b"txt=hello", headers=headers).json()["detail"].startswith("txt: ")
    assert client.post("/v1/predict", content=b"text=" + b"a" * 1_500_000, headers=headers).status_code == 413
