"""``WS /v1/stream``: predictions while people are talking.

The protocol is described in ``docs/live.md``.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import numpy as np
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emofuse.errors import DataError, EmofuseError
from emofuse.media.audio import SAMPLE_RATE
from emofuse.predictor.live import Heard, Live
from emofuse.server.access import SUBPROTOCOL
from emofuse.server.container_stream import ContainerStream
from emofuse.server.service import Service
from emofuse.server.settings import ServerSettings

LEAD_S = 10.0
"""A client that is so much faster than real time is read no faster."""

IDLE_S = 60.0
"""A client that sends nothing for so long is let go."""

PIECE_S = 0.25
"""Sound is looked at in steps of at most so much, that a large message holds nobody up."""


class Start(BaseModel):
    """The first message."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["start"]
    format: Literal["pcm16", "webm"] = "pcm16"
    source: str = Field("live", max_length=200)
    provisional: bool = True


class Say(BaseModel):
    """Words that were said."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str = Field(min_length=1, max_length=10_000)
    speaker: str | None = Field(None, max_length=200)


class End(BaseModel):
    """No more comes."""

    type: Literal["end"]


def add_stream(app: FastAPI) -> None:
    """Add the route."""

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        service: Service = app.state.service
        offered = socket.headers.get("sec-websocket-protocol", "").split(",")
        ours = next((p.strip() for p in offered if p.strip() and not p.strip().startswith(SUBPROTOCOL)), None)
        await socket.accept(subprotocol=ours)
        if service.n_streams >= service.settings.max_streams:
            await _refuse(socket, "too many streams, try again later", 1013)
            return
        service.n_streams += 1
        service.metrics.streams.set(service.n_streams)
        try:
            await _Conversation(socket, service, app.state.settings).run()
        except WebSocketDisconnect:
            pass
        except (EmofuseError, ValidationError, ValueError) as error:
            await _refuse(socket, _line(error), 1008)
        finally:
            service.n_streams -= 1
            service.metrics.streams.set(service.n_streams)


async def _refuse(socket: WebSocket, reason: str, code: int) -> None:
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # it may have gone meanwhile
        await socket.send_json({"type": "error", "detail": reason})
        await socket.close(code, reason[:100])


def _line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(error).split())


class _Conversation:
    """One connection."""

    def __init__(self, socket: WebSocket, service: Service, settings: ServerSettings) -> None:
        self._socket, self._service, self._settings = socket, service, settings
        self._began = time.monotonic()
        self._received_s = 0.0  # of sound

    async def run(self) -> None:
        """Take messages until the client has no more."""
        start = Start.model_validate(await self._json())
        self._live = Live(self._service.predictor, start.source, 1.0 if start.provisional else None)
        container = ContainerStream(self._settings.decode_memory) if start.format == "webm" else None
        await self._socket.send_json({"type": "ready", "sample_rate": SAMPLE_RATE})
        try:
            async for message in self._messages():
                if isinstance(message, Say):
                    revised = self._live.say(message.text, message.speaker)
                    await self._judge(iter([revised] if revised else []))
                else:
                    sound = _samples(message) if container is None else await container.push(message)
                    await self._listen(sound)
            if container is not None:
                await self._listen(await container.end())
            await self._judge(self._live.finish())
            await self._socket.send_json({"type": "done"})
            await self._socket.close()
        finally:
            if container is not None:
                await asyncio.to_thread(container.close)

    async def _json(self) -> Any:
        message = await self._receive()
        if message.get("text") is None:
            raise DataError('need {"type": "start"} first, as text')
        return json.loads(message["text"])

    async def _receive(self) -> Any:
        try:
            message = await asyncio.wait_for(self._socket.receive(), IDLE_S)
        except TimeoutError:
            raise DataError(f"nothing came for {IDLE_S:g} s") from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        return message

    async def _messages(self) -> AsyncIterator[bytes | Say]:
        """Sound and words until the end."""
        while True:
            message = await self._receive()
            if message.get("bytes") is not None:
                yield message["bytes"]
                continue
            given = json.loads(message["text"])
            if isinstance(given, dict) and given.get("type") == "end":
                End.model_validate(given)
                return
            yield Say.model_validate(given)

    async def _listen(self, sound: np.ndarray) -> None:
        """Judge what further sound brings to light."""
        self._received_s += len(sound) / SAMPLE_RATE
        if self._received_s > self._settings.max_job_s:
            raise DataError(f"longer than {self._settings.max_job_s / 3600:g} h, which this server takes; begin again")
        step = round(PIECE_S * SAMPLE_RATE)
        for first in range(0, len(sound), step):
            piece = sound[first : first + step]
            heard = await asyncio.to_thread(lambda p=piece: list(self._live.listen(p)))
            await self._judge(iter(heard))
        lead = self._received_s - (time.monotonic() - self._began)
        if lead > LEAD_S:
            await asyncio.sleep(lead - LEAD_S)

    async def _judge(self, heard: Iterator[Heard]) -> None:
        for one in heard:
            began = time.monotonic()
            (observed,) = await self._service.inference.observe([one.utterance])
            found = await self._service.inference.call(lambda o=one, seen=observed: self._live.conclude(o, seen))
            taken = time.monotonic() - began
            if one.kind == "final":
                self._service.metrics.live.observe(taken)
            await self._socket.send_json(
                {
                    "type": found.kind,
                    "utterance": found.number,
                    "prediction": None if found.prediction is None else found.prediction.to_dict(),
                    "latency_ms": round(1000 * taken, 1),
                }
            )


def _samples(message: bytes) -> np.ndarray:
    """Little-endian 16-bit samples as floats."""
    if len(message) % 2:
        raise DataError(f"{len(message)} bytes of 16-bit samples; need an even number")
    return np.frombuffer(message, "<i2").astype(np.float32) / 32768
