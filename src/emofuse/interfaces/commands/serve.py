"""``emofuse serve``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from emofuse.errors import ConfigError
from emofuse.interfaces.commands.options import Engine, EngineChoice


def serve(
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535)] = 8000,
    model: Annotated[str, typer.Option(help="Checkpoint folder; default: the model that ships.")] = "default",
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Mark as unsure what is less probable than this.")
    ] = 0.5,
    engine: EngineChoice = Engine.auto,
    asr: Annotated[str | None, typer.Option(help="Let requests have words recognised by this Whisper model.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Bearer tokens, one a line, that may use it.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Let others in without a token.")] = False,
    allow_host: Annotated[list[str] | None, typer.Option(help="Name that a proxy on this machine forwards.")] = None,
    state: Annotated[Path | None, typer.Option(help="Folder of jobs and uploads.", show_default=False)] = None,
    workers: Annotated[int, typer.Option(min=1, help="Files decoded at a time.")] = 2,
    queue: Annotated[int, typer.Option(min=0, help="Requests that may wait beside them; then 503.")] = 16,
    max_mb: Annotated[float, typer.Option(min=0.01, help="Largest body of a request, MB.")] = 200,
    max_minutes: Annotated[float, typer.Option(min=0.01, help="Longest recording of a request.")] = 10,
    max_job_mb: Annotated[float, typer.Option(min=0.01, help="Largest body of a job, MB.")] = 2000,
    max_job_minutes: Annotated[float, typer.Option(min=0.01, help="Longest recording of a job.")] = 240,
    max_pixels: Annotated[int, typer.Option(min=1, help="Largest picture of a video.")] = 9_437_184,
    request_s: Annotated[float, typer.Option(min=1, help="Longest time of a request.")] = 120,
    job_hours: Annotated[float, typer.Option(min=0.001, help="How long a job's result is kept.")] = 24,
) -> None:
    """Serve predictions over HTTP, live streams and a web page."""
    if sys.platform == "win32":
        raise ConfigError("the server runs on Linux and macOS: it decodes uploads in processes that are forked")
    try:
        from emofuse.server.run import serve as run
        from emofuse.server.settings import MEGABYTE, ServerSettings, default_state
    except ImportError as error:
        raise ConfigError(f'serving needs {error.name}: pip install "emofuse[serve]"') from None

    settings = ServerSettings(
        host,
        port,
        model,
        threshold,
        engine.value,
        asr,
        token_file,
        state or default_state(),
        tuple(allow_host or ()),
        workers,
        queue,
        max_bytes=round(max_mb * MEGABYTE),
        max_s=60 * max_minutes,
        max_job_bytes=round(max_job_mb * MEGABYTE),
        max_job_s=60 * max_job_minutes,
        max_pixels=max_pixels,
        request_s=request_s,
        job_ttl_s=3600 * job_hours,
    )
    run(settings, insecure)
