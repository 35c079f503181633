"""Who is let in: tokens, the loopback, WebSockets."""

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from emofuse.errors import ConfigError
from emofuse.server.access import Guard, check_exposure, read_tokens
from emofuse.server.metrics import Metrics
from emofuse.server.settings import ServerSettings

TOKEN, OTHER = "a-long-enough-token", "another-long-enough-token"


async def hello(_request: object) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


def guarded(settings: ServerSettings) -> TestClient:
    paths = ("/", "/healthz", "/docs", "/page/x.js", "/v1/models", "/metrics")
    app = Starlette(
        routes=[Route(p, hello, methods=["GET", "POST"]) for p in paths] + [WebSocketRoute("/v1/stream", echo)]
    )
    return TestClient(Guard(app, settings, Metrics(), ("/page/",)), base_url="http://localhost")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(f"# for the web team\n{TOKEN}\n\n{OTHER}\n")
    return file


def test_every_token_of_the_file_is_one(token_file: Path) -> None:
    client = guarded(ServerSettings(token_file=token_file))
    for token in (TOKEN, OTHER):
        assert client.get("/v1/models", headers={"Authorization": f"Bearer {token}"}).text == "hello"
    assert client.get("/v1/models", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"]
)
def test_anything_else_is_none(token_file: Path, header: str | None) -> None:
    client = guarded(ServerSettings(token_file=token_file))
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    for path in ("/v1/models", "/metrics"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/", "/healthz", "/docs", "/page/x.js"):
        assert client.get(path, headers=headers).status_code == 200


def test_a_websocket_needs_one_too(token_file: Path) -> None:
    client = guarded(ServerSettings(token_file=token_file))
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/stream"):
        pass
    with client.websocket_connect(
        "ws://localhost/v1/stream", subprotocols=["emofuse", f"emofuse.token.{TOKEN}"]
    ) as socket:
        assert socket.receive_text() == "hello"
    with client.websocket_connect("ws://localhost/v1/stream", headers={"Authorization": f"Bearer {TOKEN}"}) as socket:
        assert socket.receive_text() == "hello"


def test_a_page_of_a_stranger_cannot_open_a_websocket() -> None:
    client = guarded(ServerSettings())
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/v1/stream", headers={"Origin": "http://evil.example"}),
    ):
        pass
    with client.websocket_connect("ws://localhost/v1/stream", headers={"Origin": "http://localhost"}) as socket:
        assert socket.receive_text() == "hello"


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "speech.example"])
def test_names_that_are_served(host: str) -> None:
    client = guarded(ServerSettings(allowed_hosts=("speech.example",)))
    assert client.get("/v1/models", headers={"Host": host}).status_code == 200


def test_a_server_for_others_may_have_any_name() -> None:
    assert guarded(ServerSettings(host="0.0.0.0")).get("/v1/models", headers={"Host": "any.example"}).status_code == 200


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no token"),
        ("# only this\n", "no token"),
        ("short\n", "5 characters"),
        ("a token with spaces in it", "without spaces"),
    ],
)
def test_bad_token_files(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(content)
    with pytest.raises(ConfigError, match=says):
        read_tokens(file)


def test_a_missing_token_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tokens(tmp_path / "none")


def test_others_are_let_in_only_with_a_token_or_on_purpose(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.0.0.2"):
        check_exposure(ServerSettings(host=host), insecure=False)
    with pytest.raises(ConfigError, match=r"--host 0\.0\.0\.0: others can reach it"):
        check_exposure(ServerSettings(host="0.0.0.0"), insecure=False)
    check_exposure(ServerSettings(host="0.0.0.0"), insecure=True)
    check_exposure(ServerSettings(host="0.0.0.0", token_file=tmp_path), insecure=False)
