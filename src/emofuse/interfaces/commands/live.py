"""``emofuse stream`` and ``emofuse listen``: predictions while it is being said."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from emofuse.interfaces.commands.options import Engine, EngineChoice
from emofuse.threads import use_one_thread


class LiveFormat(StrEnum):
    """How live predictions are printed."""

    text = "text"
    json = "json"


Model = Annotated[str, typer.Option(help="Checkpoint folder; default: the model that ships.")]
Url = Annotated[str | None, typer.Option(help="Server that predicts (emofuse serve); default: this process.")]
Token = Annotated[Path | None, typer.Option(help="File whose first line is the server's token.")]
LiveOutput = Annotated[LiveFormat, typer.Option("--format", help="How to print.")]


def stream(
    file: Annotated[Path, typer.Argument(help="Sound or video file.", show_default=False)],
    speed: Annotated[float, typer.Option(min=0.1, max=100, help="Times real time.")] = 1.0,
    model: Model = "default",
    engine: EngineChoice = Engine.auto,
    url: Url = None,
    token_file: Token = None,
    format: LiveOutput = LiveFormat.text,
) -> None:
    """Replay a file in real time, and predict as if it were spoken now."""
    from emofuse.interfaces.listen import replay

    _follow(replay(file, speed), file.name, model, engine, url, token_file, format)


def listen(
    device: Annotated[str | None, typer.Option(help="Microphone: name or number; default: the system's.")] = None,
    model: Model = "default",
    engine: EngineChoice = Engine.auto,
    url: Url = None,
    token_file: Token = None,
    format: LiveOutput = LiveFormat.text,
) -> None:
    """Predict what a microphone hears, until Ctrl-C."""
    from emofuse.interfaces.listen import microphone

    _follow(microphone(device), "microphone", model, engine, url, token_file, format)


def _follow(
    blocks: Any, source: str, model: str, engine: Engine, url: str | None, token_file: Path | None, format: str
) -> None:
    from emofuse.interfaces.listen import first_token, follow, follow_server
    from emofuse.predictor import load

    if url is not None:
        follow_server(blocks, url, first_token(token_file), source, format == "json")
    else:
        predictor = load(model, engine=engine.value)
        use_one_thread()
        follow(blocks, predictor, source, format == "json")
