"""A request's body on the disk: multipart or raw, within limits, under names that cannot lead anywhere."""

import asyncio
import re
import shutil
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from fastapi import HTTPException, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

_FIELD = re.compile(rb"\w+=[^\0]*\Z")
FILES = ("media", "segments", "transcript")
MAX_TEXT = 100_000
MIN_RATE, PATIENCE_S = 2_000, 10.0
"""Bytes a second that a body must come in with on the whole, and how long it may be slower at its beginning."""

MAX_NAME = 100


def _flag(value: Any) -> Any:
    """``true`` or ``false``, and none of the other words that pydantic takes for them."""
    if not isinstance(value, bool) and value not in ("true", "false"):
        raise ValueError("need true or false")
    return value


Flag = Annotated[bool, BeforeValidator(_flag)]
Format = Literal["json", "text", "csv", "textgrid", "eaf", "srt", "html"]


class Options(BaseModel):
    """The fields of a request beside its files; of a raw body, its query."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = Field(None, max_length=MAX_TEXT, description="The words of the whole, then one utterance.")
    whole: Flag = Field(False, description="Take the recording as one utterance.")
    asr: Flag = Field(False, description="Recognise the words, where the server has a recogniser.")
    format: Format = Field("json", description="Of the answer.")
    name: str = Field("upload", max_length=255, description="The recording's name, of a raw body.")


@dataclass(frozen=True)
class Upload:
    """What was sent, in a folder of its own.

    Attributes:
        folder: Of the request.
        options: Its fields.
        files: Which of `FILES` there are, by their names within the folder.
    """

    folder: Path
    options: Options
    files: Mapping[str, str] = field(default_factory=dict)


def safe_name(name: str) -> str:
    """A file name of a stranger as one that stays where it is put, and is still recognised by its owner.

    Letters, digits, spaces and ``._-()`` are kept, also of other scripts; folders are cut off.
    """
    base = re.split(r"[/\\]", name)[-1]
    kept = re.sub(r"[^\w .()+-]", "_", base).strip(" .")
    stem, dot, ending = kept.rpartition(".")
    if dot and len(ending) <= 10:
        kept = f"{stem[: MAX_NAME - len(ending)]}.{ending}"
    while len(kept.encode()) > 200:
        kept = kept[1:]
    return kept[-MAX_NAME - 12 :] or "upload"


async def receive(request: Request, folder: Path, max_bytes: int, deadline: float, idle_s: float) -> Upload:
    """Read a body into a folder.

    Args:
        request: Multipart with the files `FILES` and the fields of `Options`, or the recording itself as the body.
        folder: Of the request; exists.
        max_bytes: Of the body.
        deadline: By `time.monotonic`, when it must have come.
        idle_s: Longest time between two pieces.

    Raises:
        HTTPException: 400 malformed, 408 too slow, 413 too large, 422 an unknown or wrong field.
        ClientDisconnect: The client has gone.
    """
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > max_bytes:
        raise _too_large(max_bytes)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = _limited(request, max_bytes, deadline, idle_s)
    if kind == "multipart/form-data":
        return await _multipart(request, body, folder)
    first = await anext(body, b"")
    # `curl --data-binary @FILE` calls a recording a form, too.
    if kind == "application/x-www-form-urlencoded" and _FIELD.match(first):
        return Upload(folder, await _fields(request, first, body))
    options = _options(_query(request))
    name = safe_name(options.name)
    place = folder / "media" / name
    place.parent.mkdir()
    if not first:
        return Upload(folder, options)
    with place.open("wb") as file:
        await asyncio.to_thread(file.write, first)
        async for piece in body:
            await asyncio.to_thread(file.write, piece)
    return Upload(folder, options, {"media": f"media/{name}"})


async def _fields(request: Request, first: bytes, body: AsyncGenerator[bytes, None]) -> Options:
    """The fields of a form without files, as `curl --data` sends them."""
    content = first
    async for piece in body:
        content += piece
        if len(content) > 10 * MAX_TEXT:
            raise HTTPException(413, f"a form of more than {10 * MAX_TEXT:,} bytes")
    fields = parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True)
    return _options(_query(request) | dict(fields))


async def _multipart(request: Request, body: AsyncGenerator[bytes, None], folder: Path) -> Upload:
    fields: dict[str, Any] = _query(request)
    parser = MultiPartParser(request.headers, body, max_files=len(FILES), max_fields=10, max_part_size=4 * MAX_TEXT)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "message", None) or "malformed"
        raise HTTPException(400, f"multipart body: {reason}") from None
    files: dict[str, str] = {}
    try:
        for key, value in form.multi_items():
            if not isinstance(value, UploadFile):
                if key in FILES:
                    raise HTTPException(422, f"{key}: need a file (with a file name), found a field")
                fields[key] = value
            elif key not in FILES:
                raise HTTPException(422, f"file {key!r}: unknown; known are {', '.join(FILES)}")
            elif key in files:
                raise HTTPException(422, f"file {key!r}: given twice")
            else:
                place = folder / key / safe_name(value.filename or "upload")
                place.parent.mkdir()
                with place.open("wb") as file:
                    await asyncio.to_thread(shutil.copyfileobj, value.file, file, 1 << 20)
                files[key] = f"{key}/{place.name}"
    finally:
        for file in parser._files_to_close_on_error:  # all that were opened, also one whose part never ended
            file.close()
    return Upload(folder, _options(fields), files)


def _query(request: Request) -> dict[str, Any]:
    """The fields in the address; they must be right also where the body's override them."""
    fields = dict(request.query_params)
    _options(fields)
    return fields


def _options(fields: dict[str, Any]) -> Options:
    try:
        return Options.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise HTTPException(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


async def _limited(request: Request, max_bytes: int, deadline: float, idle_s: float) -> AsyncGenerator[bytes, None]:
    """The body piece by piece, as long as it keeps to its limits."""
    n_bytes, pieces, began = 0, request.stream(), time.monotonic()
    while True:
        left = min(idle_s, deadline - time.monotonic())
        try:
            piece = await asyncio.wait_for(anext(pieces), max(left, 0.001))
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise HTTPException(408, f"the upload took too long, or nothing came for {idle_s:g} s") from None
        n_bytes += len(piece)
        if n_bytes < MIN_RATE * (time.monotonic() - began - PATIENCE_S):
            raise HTTPException(408, f"the upload is slower than {MIN_RATE} bytes a second")
        if n_bytes > max_bytes:
            raise _too_large(max_bytes)
        yield piece


def _too_large(max_bytes: int) -> HTTPException:
    return HTTPException(413, f"the body is larger than {max_bytes / 1e6:g} MB, which this server takes here")


__all__ = ["FILES", "ClientDisconnect", "Options", "Upload", "receive", "safe_name"]
