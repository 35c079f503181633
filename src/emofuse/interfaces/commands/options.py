"""Options that several commands take."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Selection(StrEnum):
    """What chooses the epoch."""

    dev = "dev"
    test = "test"


class Engine(StrEnum):
    """What runs the networks."""

    auto = "auto"
    torch = "torch"
    onnx = "onnx"


Data = Annotated[Path, typer.Option("--data", help="Folder or file of the recipe's corpus.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write to.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change a recipe's value, e.g. training.max_epochs=5.")]
Features = Annotated[
    Path | None, typer.Option("--features", help="Feature store: extracted features are looked up in it and added.")
]
AudioCache = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|off",
        help="Folder of decoded sound; off: in memory.",
        show_default="in --features, else beside --out until done",
    ),
]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes.", show_default="1; with --ray one a CPU")]
Ray = Annotated[
    str | None, typer.Option(metavar="auto|ADDRESS", help="Work on a Ray cluster; auto: one here, started if need be.")
]
EngineChoice = Annotated[
    Engine, typer.Option("--engine", help="What runs the networks; auto: onnx where the model has graphs, else torch.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
