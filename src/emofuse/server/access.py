"""Who may use a server: bearer tokens, and the names under which browsers may address it. Counts the answers, too."""

import hmac
import time
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emofuse.errors import ConfigError
from emofuse.server.metrics import Metrics
from emofuse.server.settings import LOOPBACK, ServerSettings

OPEN = ("/healthz", "/readyz", "/docs", "/openapi.json")
"""Paths that tell nothing of anyone, and need no token."""

SUBPROTOCOL = "emofuse.token."
"""Browsers cannot send headers with a WebSocket: there the token may follow this in the list of subprotocols."""

MIN_TOKEN = 16


def read_tokens(file: Path) -> tuple[bytes, ...]:
    """Tokens of a file, one a line; empty lines and those that begin with # are left out.

    Raises:
        ConfigError: It cannot be read, has none, or one that can be guessed.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: the tokens cannot be read ({error})") from None
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise ConfigError(f"{file}: no token in it, need one a line")
    for number, token in enumerate(tokens, 1):
        if len(token) < MIN_TOKEN or not token.isascii() or " " in token:
            raise ConfigError(f"{file}: token {number} has {len(token)} characters, need {MIN_TOKEN} without spaces")
    return tuple(token.encode() for token in tokens)


def check_exposure(settings: ServerSettings, insecure: bool) -> None:
    """Raise ConfigError where strangers could reach the server without a token, and nobody has said that they may."""
    if not settings.is_loopback and settings.token_file is None and not insecure:
        raise ConfigError(
            f"--host {settings.host}: others can reach it; give --token-file FILE, or --insecure if they may use it"
        )


class Guard:
    """ASGI middleware: refuses strangers, and counts what is answered."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: Metrics, public: tuple[str, ...] = ()) -> None:
        """`public`: beginnings of further paths that need no token, such as the page's files."""
        self.app, self.settings, self.metrics = app, settings, metrics
        self.tokens = () if settings.token_file is None else read_tokens(settings.token_file)
        self.hosts = {*LOOPBACK, settings.host, *settings.allowed_hosts}
        self.public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        refusal = self._refusal(scope)
        try:
            if refusal is None:
                await self.app(scope, receive, watched)
            elif scope["type"] == "http":
                code, reason = refusal
                headers = {"WWW-Authenticate": "Bearer"} if code == 401 else None
                await JSONResponse({"detail": reason}, code, headers)(scope, receive, watched)
            else:
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
        finally:
            if scope["type"] == "http":
                route = getattr(scope.get("route"), "path", "other")
                self.metrics.requests.labels(scope["method"], route, str(status)).inc()
                self.metrics.latency.labels(route).observe(time.perf_counter() - started)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = (urlsplit(f"//{headers.get('host', '')}").hostname or "").lower()
        # A page of a stranger whose name has been made to lead here (DNS rebinding) says the stranger's name.
        if self.settings.is_loopback and host not in self.hosts:
            return 403, f"host {host!r} is not served here; start the server with --allow-host {host}"
        origin = headers.get("origin")
        if origin is not None and scope.get("method") != "GET" and (urlsplit(origin).netloc != headers.get("host")):
            return 403, f"requests from pages of {origin} are not served"
        if not self.tokens or scope["path"] in OPEN or any(scope["path"].startswith(p) for p in self.public):
            return None
        if scope["path"] == "/":
            return None
        return None if self._has_token(headers) else (401, "need a bearer token: Authorization: Bearer TOKEN")

    def _has_token(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        offered = [given.strip()] if kind.lower() == "bearer" else []
        protocols = headers.get("sec-websocket-protocol", "").split(",")
        offered += [p.strip().removeprefix(SUBPROTOCOL) for p in protocols if p.strip().startswith(SUBPROTOCOL)]
        # Every token is compared in full, so that the time tells nothing.
        found = [hmac.compare_digest(o.encode(), token) for o in offered for token in self.tokens]
        return any(found)
