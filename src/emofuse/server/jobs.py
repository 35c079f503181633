"""Work that outlasts a request, and the server: jobs in an SQLite file, their uploads beside it."""

import asyncio
import json
import logging
import shutil
import sqlite3
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emofuse.errors import EmofuseError
from emofuse.prediction import Timeline
from emofuse.server.sandbox import CrashError, StoppedError
from emofuse.server.service import Bounds, BusyError, Service
from emofuse.server.uploads import Options, Upload

log = logging.getLogger("emofuse.server")

State = Literal["queued", "running", "done", "failed"]
SHORT = 20_000_000
"""Bytes of an upload that does not wait behind longer ones."""

MAX_ATTEMPTS = 3
"""Times that a job is begun: one that ends the server each time must not do so for ever."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, created REAL NOT NULL, ended REAL, attempts INTEGER NOT NULL DEFAULT 0,
    n_bytes INTEGER NOT NULL, options TEXT NOT NULL, files TEXT NOT NULL, what TEXT, share REAL, result TEXT, error TEXT
)"""


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        id: Its name.
        state: ``queued``, ``running``, ``done`` or ``failed``.
        created, ended: Seconds since 1970; `ended` is None until it has.
        what, share: What is being done, and the share of it that is done.
        result: The timeline of a job that is done.
        error: Why it failed, in one line.
        format: What its owner asked for.
    """

    id: str
    state: State
    created: float
    ended: float | None
    what: str | None
    share: float | None
    result: Timeline | None
    error: str | None
    format: str


class Jobs:
    """The jobs of one server; two run at a time, of which one is short: nobody waits hours for a clip."""

    def __init__(self, service: Service) -> None:
        """Open the file; what ran when the server ended is begun again."""
        self._service, settings = service, service.settings
        self._settings = settings
        self.folder = settings.state / "jobs"
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._database = sqlite3.connect(settings.state / "jobs.sqlite3", isolation_level=None, check_same_thread=False)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute(_SCHEMA)
        self._database.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")
        known = {row["id"] for row in self._database.execute("SELECT id FROM jobs WHERE state = 'queued'")}
        for folder in self.folder.iterdir():  # uploads that were cut off by the server's end
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
        self._wakes: list[asyncio.Event] = []
        self._stops: dict[str, threading.Event] = {}
        self._count()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def folder_for_upload(self) -> Path:
        """An empty folder for a new job, named by its id.

        Raises:
            BusyError: Too many jobs wait.
        """
        (n_waiting,) = self._database.execute("SELECT COUNT(*) FROM jobs WHERE state = 'queued'").fetchone()
        n_uploading = sum(1 for _ in self.folder.iterdir())
        if max(n_waiting, n_uploading) >= self._settings.max_jobs:
            raise BusyError(60)
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir(mode=0o700)
        return folder

    def add(self, upload: Upload) -> Job:
        """Take a job in; its folder is the upload's."""
        job_id = upload.folder.name
        n_bytes = sum((upload.folder / name).stat().st_size for name in upload.files.values())
        self._database.execute(
            "INSERT INTO jobs (id, state, created, n_bytes, options, files) VALUES (?, 'queued', ?, ?, ?, ?)",
            (job_id, time.time(), n_bytes, upload.options.model_dump_json(), json.dumps(dict(upload.files))),
        )
        self._count()
        for wake in self._wakes:
            wake.set()
        job = self.get(job_id)
        assert job is not None
        return job

    def get(self, job_id: str) -> Job | None:
        """A job; None where there is none, or its time is over."""
        row = self._database.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is None or self._expired(row):
            return None
        result = None if row["result"] is None else Timeline.from_dict(json.loads(row["result"]))
        chosen = json.loads(row["options"])["format"]
        known = {key: row[key] for key in ("id", "state", "created", "ended", "what", "share", "error")}
        return Job(**known, result=result, format=chosen)

    def remove(self, job_id: str) -> bool:
        """Forget a job and stop it if it runs; False where there is none."""
        found = self._database.execute("DELETE FROM jobs WHERE id = ?", (job_id,)).rowcount > 0
        if stop := self._stops.get(job_id):
            stop.set()  # its folder goes when it has stopped
        elif found:
            shutil.rmtree(self.folder / job_id, ignore_errors=True)
        self._count()
        return found

    async def run(self) -> None:
        """Do one job after the other, and beside it one short one after the other, until this is cancelled."""
        async with asyncio.TaskGroup() as runners:
            runners.create_task(self._run(most=None))
            runners.create_task(self._run(most=SHORT))

    async def _run(self, most: int | None) -> None:
        """Do the jobs of at most so many bytes."""
        wake = asyncio.Event()
        self._wakes.append(wake)
        chosen = "SELECT * FROM jobs WHERE state = 'queued' AND n_bytes <= ? ORDER BY created LIMIT 1"
        while True:
            self._sweep()
            row = self._database.execute(chosen, (2**62 if most is None else most,)).fetchone()
            if row is not None:
                await self._do(row)
                continue
            wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), 60)

    async def _do(self, row: sqlite3.Row) -> None:
        job_id, folder = row["id"], self.folder / row["id"]
        if row["attempts"] >= MAX_ATTEMPTS:
            self._end(job_id, None, f"given up: the server ended {MAX_ATTEMPTS} times while it ran")
            return
        self._set(job_id, "state = 'running', attempts = attempts + 1")
        self._count()
        upload = Upload(folder, Options.model_validate_json(row["options"]), json.loads(row["files"]))
        stop = self._stops[job_id] = threading.Event()
        told = 0.0

        def tell(what: str, share: float) -> None:
            nonlocal told
            if time.monotonic() - told > 0.5 or share >= 1:
                told = time.monotonic()
                loop.call_soon_threadsafe(lambda: self._set(job_id, "what = ?, share = ?", what, round(share, 4)))

        loop = asyncio.get_running_loop()
        bounds = Bounds(self._settings.max_job_s, time.monotonic() + self._settings.job_s)
        try:
            timeline = await self._service.predict(upload, bounds, tell, stop)
        except StoppedError:
            shutil.rmtree(folder, ignore_errors=True)
        except CrashError as error:
            self._end(job_id, None, f"cannot be decoded: {error}")
        except EmofuseError as error:
            self._end(job_id, None, str(error))
        except asyncio.CancelledError:  # the server ends: the job is begun again with the next one
            stop.set()
            self._set(job_id, "state = 'queued', attempts = attempts - 1")
            raise
        except Exception:
            log.exception("job %s", job_id)
            self._end(job_id, None, "the server failed at it; its log says more")
        else:
            self._end(job_id, timeline, None)
        finally:
            del self._stops[job_id]

    def _end(self, job_id: str, timeline: Timeline | None, error: str | None) -> None:
        result = None if timeline is None else json.dumps(timeline.to_dict())
        state = "failed" if timeline is None else "done"
        self._set(job_id, "state = ?, ended = ?, result = ?, error = ?", state, time.time(), result, error)
        shutil.rmtree(self.folder / job_id, ignore_errors=True)
        self._count()

    def _set(self, job_id: str, what: str, *values: Any) -> None:
        self._database.execute(f"UPDATE jobs SET {what} WHERE id = ?", (*values, job_id))

    def expires(self, job: Job) -> float | None:
        """When a job that has ended is forgotten, in seconds since 1970."""
        return None if job.ended is None else job.ended + self._settings.job_ttl_s

    def _expired(self, row: sqlite3.Row) -> bool:
        return row["ended"] is not None and time.time() > row["ended"] + self._settings.job_ttl_s

    def _sweep(self) -> None:
        limit = time.time() - self._settings.job_ttl_s
        self._database.execute("DELETE FROM jobs WHERE ended < ?", (limit,))

    def _count(self) -> None:
        counts = dict(self._database.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())
        for state in ("queued", "running", "done", "failed"):
            self._service.metrics.jobs.labels(state).set(counts.get(state, 0))
