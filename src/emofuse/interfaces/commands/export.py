"""``emofuse export``: a model as ONNX graphs, and what became of it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from emofuse.errors import DataError


class ExportFormat(StrEnum):
    """What a model is exported to."""

    onnx = "onnx"


def export(
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    model: Annotated[str, typer.Argument(help="Checkpoint or fusion folder; default: what ships.")] = "default",
    format: Annotated[
        ExportFormat, typer.Option(help="ONNX, which onnxruntime runs without torch.")
    ] = ExportFormat.onnx,
    int8: Annotated[bool, typer.Option("--int8", help="8 bits a weight: smaller, and a little less right.")] = False,
) -> None:
    """Write a model's networks as ONNX graphs, each compared with the network that it was made of."""
    from emofuse.exporting.folder import export_model
    from emofuse.predictor import default_model

    folder = default_model() if model == "default" and not Path(model).exists() else Path(model)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such model folder")
    for part in export_model(folder, out, int8):
        title = f"{part.name}: {part.system}" if part.name else part.system
        print(f"{title}, {part.n_bytes / 1e6:.2f} MB, probabilities within {part.difference:.1g} of the network's")
    print(f"wrote {out}")
    if int8:
        print(f"what 8 bits cost: emofuse evaluate {out} --data DATA, beside the same of {model}")
