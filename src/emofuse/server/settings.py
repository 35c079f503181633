"""What a server can be told, and the limits that keep it standing."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from emofuse.engine import Engine

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MEGABYTE = 1_000_000


def default_state() -> Path:
    """Where jobs are kept: ``emofuse`` in the user's folder of program states."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "emofuse"


@dataclass(frozen=True)
class ServerSettings:
    """Of one server; the defaults are those of ``emofuse serve``.

    Attributes:
        host, port: Where it listens.
        model: Checkpoint or fusion folder; ``default``: the model that ships.
        threshold: Predictions less probable than this are marked unsure.
        engine: What runs the networks, see `emofuse.engine`.
        asr: Whisper model for requests that ask for recognition; None: they are refused.
        token_file: File of bearer tokens, one a line; None: everybody who reaches the server may use it.
        state: Folder of jobs and uploads; one server at a time.
        allowed_hosts: Names under which it may be addressed besides the loopback's, against DNS rebinding; a host that
            is not loopback allows any.
        workers: Files decoded at a time, each in a process of its own.
        queue: Requests that may wait beside those at work; beyond them the answer is 503.
        max_uploads: Requests whose bodies are coming in at a time; beyond them the answer is 503.
        max_bytes, max_s: Largest body and longest recording of a request that waits for its answer.
        max_job_bytes, max_job_s: The same of a job.
        max_pixels: Largest picture of a video.
        request_s: Longest time that a request may take, its upload included.
        idle_s: Longest time between two pieces of an upload.
        job_s: Longest time that a job may take.
        decode_memory: Bytes that decoding one file may use.
        max_jobs: Jobs that may wait; beyond them the answer is 503.
        job_ttl_s: How long the result of a job is kept.
        max_streams: Live connections at a time.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    model: str = "default"
    threshold: float = 0.5
    engine: Engine = "auto"
    asr: str | None = None
    token_file: Path | None = None
    state: Path = field(default_factory=default_state)
    allowed_hosts: tuple[str, ...] = ()
    workers: int = 2
    queue: int = 16
    max_uploads: int = 128
    max_bytes: int = 200 * MEGABYTE
    max_s: float = 600.0
    max_job_bytes: int = 2000 * MEGABYTE
    max_job_s: float = 4 * 3600.0
    max_pixels: int = 4096 * 2304
    request_s: float = 120.0
    idle_s: float = 20.0
    job_s: float = 4 * 3600.0
    decode_memory: int = 1024 * MEGABYTE
    max_jobs: int = 100
    job_ttl_s: float = 24 * 3600.0
    max_streams: int = 8

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOOPBACK or self.host.startswith("127.")
