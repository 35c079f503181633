"""What the API's answers look like, and how its document describes them."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from emofuse.prediction import Prediction
from emofuse.server.uploads import FILES, Options

MEDIA_TYPES = {
    "json": "application/json",
    "text": "text/plain",
    "csv": "text/csv",
    "textgrid": "text/plain",
    "eaf": "application/xml",
    "srt": "application/x-subrip",
    "html": "text/html",
}


class Error(BaseModel):
    """What went wrong, in one line."""

    detail: str


class TimelineAnswer(BaseModel):
    """The utterances of one recording; each is what `emofuse predict --format json` prints."""

    source: str
    duration_s: float
    problems: list[str]
    predictions: list[Prediction]


class JobAnswer(BaseModel):
    """A job and, when it is done, its result."""

    id: str
    state: Literal["queued", "running", "done", "failed"]
    created_at: datetime
    ended_at: datetime | None
    expires_at: datetime | None = Field(description="When it is forgotten.")
    doing: str | None = Field(description="listening, looking, recognising or predicting.")
    progress: float | None = Field(description="Share of that which is done, 0 to 1.")
    result: TimelineAnswer | None
    error: str | None


class ModelAnswer(BaseModel):
    """A model that predicts here."""

    name: str
    classes: list[str]
    modalities: list[str]
    recognises_words: bool = Field(description="Whether `asr` can be asked for.")
    card: str = Field(description="Its model card, Markdown.")


def errors(**codes: str) -> dict[int | str, dict[str, Any]]:
    """Answers that an error has, by code (``e404=...``) and when it is given; 401 and 403 are always among them."""
    known = {"e401": "No valid token.", "e403": "From a page or under a name that is not served."} | codes
    return {int(code[1:]): {"model": Error, "description": text} for code, text in known.items()}


BODY_ERRORS = errors(
    e400="A malformed body.",
    e408="The upload was too slow.",
    e413="Too large, too long, or more work than a request may take.",
    e422="What was sent cannot be used; `detail` says what, where, and what is needed.",
    e503="The queue is full; `Retry-After` says when to come again.",
)
# What is no HTTP, such as an address of more than 64 kB, is refused in plain words before it comes to us.
BODY_ERRORS[400]["content"] = {"text/plain": {"schema": {"type": "string"}}}
RESULT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "What was felt, in the format that was asked for.",
        "content": {kind: {"schema": {"type": "string"}} for name, kind in MEDIA_TYPES.items() if name != "json"},
    }
}
_OPTIONS = Options.model_json_schema()["properties"]
BODY = {
    "requestBody": {
        "description": "A form, or the recording itself as the body and the fields as a query.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {name: {"type": "string", "format": "binary"} for name in FILES} | _OPTIONS,
                    "additionalProperties": False,
                }
            },
            "application/x-www-form-urlencoded": {
                "schema": {"type": "object", "properties": _OPTIONS, "additionalProperties": False}
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": schema} for name, schema in _OPTIONS.items()
    ],
}
