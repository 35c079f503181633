"""The HTTP API: its routes, and how errors become answers."""

import asyncio
import shutil
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi_offline import FastAPIOffline
from starlette.requests import ClientDisconnect

from emofuse.errors import ConfigError, DataError
from emofuse.interfaces.formats import FORMATS
from emofuse.interfaces.report import write_report
from emofuse.prediction import Timeline
from emofuse.predictor import default_model
from emofuse.server.access import Guard
from emofuse.server.answers import (
    BODY,
    BODY_ERRORS,
    MEDIA_TYPES,
    RESULT,
    Error,
    JobAnswer,
    ModelAnswer,
    TimelineAnswer,
    errors,
)
from emofuse.server.jobs import Job, Jobs
from emofuse.server.metrics import Metrics
from emofuse.server.page import add_page
from emofuse.server.sandbox import CrashError, LimitError, StoppedError
from emofuse.server.service import Bounds, BusyError, Service
from emofuse.server.settings import ServerSettings
from emofuse.server.stream import add_stream
from emofuse.server.uploads import Format, Upload, receive

WARNING = (
    "Estimates which emotion a person expresses in voice, words and face; it can be wrong. Inferring emotions of "
    "people at work or in education is banned in the European Union (AI Act, Art. 5(1)(f)); elsewhere people must be "
    "told (Art. 50(3))."
)


def create_app(settings: ServerSettings) -> FastAPI:
    """The application of one server; it loads the model when it starts.

    Raises:
        ConfigError: The token file cannot be used.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = await asyncio.to_thread(Service, settings, metrics)
        jobs = Jobs(service)
        app.state.service, app.state.jobs = service, jobs
        runner = asyncio.create_task(jobs.run())
        try:
            yield
        finally:
            runner.cancel()
            with suppress(asyncio.CancelledError):
                await runner
            await asyncio.to_thread(service.close)
            jobs.close()

    app = FastAPIOffline(
        title="emofuse", version=version("emofuse"), description=WARNING, lifespan=lifespan, redoc_url=None
    )
    app.state.settings, app.state.metrics = settings, metrics
    _add_routes(app)
    _add_handlers(app)
    add_page(app)
    add_stream(app)
    app.add_middleware(Guard, settings=settings, metrics=metrics, public=("/static-offline-docs/", "/page/"))
    return app


def _add_handlers(app: FastAPI) -> None:
    """Turn our errors into answers with one line."""

    def answer(code: int) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
        async def handle(_request: Request, error: Exception) -> JSONResponse:
            return JSONResponse({"detail": " ".join(str(error).split())}, code)

        return handle

    async def busy(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, BusyError)
        return JSONResponse({"detail": str(error)}, 503, {"Retry-After": str(error.retry_s)})

    async def crash(_request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": f"cannot be decoded: {error}"}, 422)

    async def invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        return JSONResponse({"detail": f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}"}, 422)

    app.add_exception_handler(RequestValidationError, invalid)
    for kind in (DataError, ConfigError):
        app.add_exception_handler(kind, answer(422))
    app.add_exception_handler(LimitError, answer(413))
    app.add_exception_handler(CrashError, crash)
    app.add_exception_handler(BusyError, busy)
    for kind in (StoppedError, ClientDisconnect):  # the client has gone: nobody reads this, but it is counted
        app.add_exception_handler(kind, answer(499))


def _add_routes(app: FastAPI) -> None:
    settings: ServerSettings = app.state.settings

    @app.post("/v1/predict", response_model=TimelineAnswer, responses=RESULT | BODY_ERRORS, openapi_extra=BODY)
    async def predict(request: Request) -> Response:
        """Who felt what, when, how sure that is, and on what evidence."""
        service: Service = app.state.service
        deadline = time.monotonic() + settings.request_s
        with service.folder() as folder:
            upload = await receive(request, folder, settings.max_bytes, deadline, settings.idle_s)
            stop = threading.Event()
            gone = asyncio.create_task(_when_gone(request, stop))
            try:
                with service.place():
                    bounds = Bounds(settings.max_s, deadline)
                    timeline = await service.predict(upload, bounds, lambda _what, _share: None, stop)
            finally:
                stop.set()
                gone.cancel()
            return await _as_format(timeline, upload.options.format, settings)

    @app.post("/v1/jobs", status_code=202, response_model=JobAnswer, responses=BODY_ERRORS, openapi_extra=BODY)
    async def create_job(request: Request, response: Response) -> Any:
        """Take a recording that needs longer; `GET /v1/jobs/{id}` says how far it is."""
        jobs: Jobs = app.state.jobs
        folder = jobs.folder_for_upload()
        try:
            deadline = time.monotonic() + settings.job_s
            upload = await receive(request, folder, settings.max_job_bytes, deadline, settings.idle_s)
            _check_something(upload)
            job = jobs.add(upload)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        response.headers["Location"] = f"/v1/jobs/{job.id}"
        return _job_answer(jobs, job)

    known = errors(e404="No such job, or its time is over.")

    @app.get("/v1/jobs/{job_id}", response_model=JobAnswer, responses=known)
    async def get_job(job_id: str) -> Any:
        """How far a job is, and its result."""
        return _job_answer(app.state.jobs, _found(app, job_id))

    @app.get(
        "/v1/jobs/{job_id}/result",
        response_model=TimelineAnswer,
        responses=RESULT
        | known
        | errors(e409="The job is not done.", e422="An unknown format, or one that cannot hold it."),
    )
    async def get_result(job_id: str, format: Format | None = None) -> Response:
        """The result of a job that is done, in the format that was asked for, or in another one."""
        job = _found(app, job_id)
        if job.result is None:
            raise HTTPException(409, f"the job is {job.state}{f': {job.error}' if job.error else ''}")
        return await _as_format(job.result, format or job.format, settings)

    @app.delete("/v1/jobs/{job_id}", status_code=204, response_class=Response, responses=known)
    async def delete_job(job_id: str) -> None:
        """Stop a job if it runs, and forget it with all that was sent."""
        if not app.state.jobs.remove(job_id):
            raise HTTPException(404, "no such job, or its time is over")

    @app.get("/v1/models", response_model=list[ModelAnswer], responses=errors())
    async def models() -> Any:
        """The model that predicts here."""
        service: Service = app.state.service
        folder = default_model() if settings.model == "default" else Path(settings.model)
        card = folder / "README.md"
        return [
            ModelAnswer(
                name=folder.name,
                classes=list(service.predictor.classes),
                modalities=list(service.predictor.modalities),
                recognises_words=service.recogniser is not None,
                card=card.read_text(encoding="utf-8") if card.is_file() else "",
            )
        ]

    @app.get("/healthz", response_model=dict[str, str])
    async def healthz() -> Any:
        """Whether the server lives."""
        return {"status": "ok"}

    @app.get("/readyz", response_model=dict[str, str], responses={503: {"model": Error, "description": "Not yet."}})
    async def readyz() -> Any:
        """Whether it takes requests: the model is loaded, and the queue is not full."""
        service: Service | None = getattr(app.state, "service", None)
        if service is None or service.is_full:
            raise HTTPException(503, "starting" if service is None else "the queue is full")
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse, responses=errors())
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _when_gone(request: Request, stop: threading.Event) -> None:
    """Set `stop` when the client closes its connection."""
    while not await request.is_disconnected():
        await asyncio.sleep(0.2)
    stop.set()


def _check_something(upload: Upload) -> None:
    if "media" not in upload.files and upload.options.text is None:
        raise DataError("nothing to judge: send a recording (file `media`, or as the body), or a text")


async def _as_format(timeline: Timeline, name: str, settings: ServerSettings) -> Response:
    """A timeline as the answer in a format."""
    if name == "json":
        return JSONResponse(timeline.to_dict())
    if name == "html":
        content = await asyncio.to_thread(_page, timeline, settings.model)
    else:
        content = await asyncio.to_thread(FORMATS[name][1], timeline)
    return Response(content, media_type=f"{MEDIA_TYPES[name]}; charset=utf-8")


def _page(timeline: Timeline, model: str) -> str:
    """The report, without a player: nobody's voice or face leaves with it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        write_report(path, [timeline], model=model)
        return path.read_text(encoding="utf-8")


def _found(app: FastAPI, job_id: str) -> Job:
    job = app.state.jobs.get(job_id)
    if job is None:
        raise HTTPException(404, "no such job, or its time is over")
    return job


def _job_answer(jobs: Jobs, job: Job) -> JobAnswer:
    expires = jobs.expires(job)
    return JobAnswer(
        id=job.id,
        state=job.state,
        created_at=datetime.fromtimestamp(job.created, UTC),
        ended_at=None if job.ended is None else datetime.fromtimestamp(job.ended, UTC),
        expires_at=None if expires is None else datetime.fromtimestamp(expires, UTC),
        doing=job.what if job.state == "running" else None,
        progress=job.share if job.state == "running" else None,
        result=None if job.result is None else TimelineAnswer(**job.result.to_dict()),
        error=job.error,
    )
