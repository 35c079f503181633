"""``emofuse predict``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from emofuse.errors import ConfigError
from emofuse.interfaces.commands.options import Engine, EngineChoice, Jobs, Ray
from emofuse.threads import use_half_of_the_threads


class Format(StrEnum):
    """How predictions are written."""

    text = "text"
    json = "json"
    csv = "csv"
    textgrid = "textgrid"
    eaf = "eaf"
    srt = "srt"


def predict(
    media: Annotated[
        list[str],
        typer.Argument(metavar="MEDIA", help="Files, folders, patterns, @LIST.", show_default=False),
    ],
    text: Annotated[str | None, typer.Option(help="The words that were said in a single file.")] = None,
    transcript: Annotated[
        Path | None, typer.Option(help="Words: SRT, WebVTT, Whisper JSON or txt; or a folder of them.")
    ] = None,
    segments: Annotated[
        Path | None, typer.Option(help="Utterances: csv, RTTM, TextGrid or ELAN; or a folder of them.")
    ] = None,
    asr: Annotated[
        str | None, typer.Option(help="Recognise the words with this Whisper model: name or folder.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Of the recognition, as en; default: found out.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Take each file as one utterance.")] = False,
    model: Annotated[str, typer.Option(help="Checkpoint folder; default: the model that ships.")] = "default",
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Mark as unsure what is less probable than this.")
    ] = 0.5,
    face_detector: Annotated[
        Path | None, typer.Option(help="BlazeFace (.tflite) or YuNet (.onnx) file; default: OpenCV's own.")
    ] = None,
    frame_rate: Annotated[float, typer.Option(min=0.1, help="Pictures a second looked at for faces.")] = 5.0,
    format: Annotated[Format, typer.Option(help="How to print or write.")] = Format.text,
    out: Annotated[Path | None, typer.Option(help="File, or folder for a file each, instead of printing.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out files whose result is in --out.")] = False,
    report: Annotated[Path | None, typer.Option(help="Also write a page with player and timeline (HTML).")] = None,
    jobs: Jobs = None,
    ray: Ray = None,
    engine: EngineChoice = Engine.auto,
) -> None:
    """Say who felt what, when, how sure that is, and on what evidence."""
    from emofuse.interfaces.predict import Job, expand, run
    from emofuse.interfaces.worker import Setup

    files = expand(media)
    for option, value in (("--text", text), ("--transcript", transcript), ("--segments", segments)):
        if value is not None and len(files) > 1 and not (isinstance(value, Path) and value.is_dir()):
            several = "" if option == "--text" else "; for several give a folder of files named like them"
            raise ConfigError(f"{option} is for one file, {len(files)} were given{several}")
    setup = Setup(
        model, threshold, text, transcript, segments, whole, asr, language, face_detector, frame_rate, engine.value
    )
    if ray is not None:
        from emofuse.interfaces.parts import run as run_on_ray

        if out is None or format != Format.text or report is not None:
            raise ConfigError("--ray writes Parquet into a folder: give --out FOLDER, leave out --format and --report")
        raise typer.Exit(run_on_ray(setup, files, out, ray, jobs))
    n_threads = use_half_of_the_threads()
    raise typer.Exit(run(Job(setup, format, out, resume, report, n_threads), files, jobs or 1))
