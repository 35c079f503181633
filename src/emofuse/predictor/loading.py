"""A predictor from a folder: one checkpoint, or several that are fused late."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.engine import Engine, open_trained
from emofuse.errors import DataError
from emofuse.predictor.part import Part
from emofuse.predictor.predictor import UNSURE, Predictor
from emofuse.protocol.duration import duration_temperature
from emofuse.protocol.pool import Reliability


def default_model() -> Path:
    """Folder of the model that ships with the package."""
    return Path(str(files("emofuse") / "assets" / "default"))


def load(
    path: str | Path | None = None, threshold: float = UNSURE, engine: Engine = "auto", n_threads: int | None = None
) -> Predictor:
    """A predictor from a checkpoint folder, a fusion folder, or (None) the model that ships with the package.

    A fusion folder holds one checkpoint folder a part and ``fusion.json``: ``{"parts": {FOLDER: PART, ...}}``, each
    PART ``{"temperature": T, "reliability": R}``. Its logits are divided by T (1 when left out), because a part is less
    often right away from the data that it was calibrated on. T, a number or ``{SECONDS: T, ...}`` by how much it hears
    of an utterance, see `emofuse.protocol.duration`. R, a number or a number for each class by name (1
    when left out), see `emofuse.protocol.pool`. A PART that is a number is its reliability.

    Args:
        path: The folder, or ``default``.
        threshold: A prediction whose label is less probable than this is marked unsure.
        engine: ``torch``, ``onnx`` (onnxruntime, which needs no torch), or ``auto``, see `emofuse.engine.Engine`.
        n_threads: See `Predictor`.

    Raises:
        DataError: Something is missing or malformed.
        ConfigError: The model cannot work on media files, or with that engine.
    """
    folder = default_model() if path is None or str(path) == "default" else Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such model folder")
    fusion = folder / "fusion.json"
    if not fusion.exists():
        return Predictor([Part(open_trained(folder, engine), str(folder))], None, threshold, n_threads)
    try:
        given = {n: p if isinstance(p, dict) else {"reliability": float(p)} for n, p in _parts_of(fusion).items()}
        parts = [_part(folder / name, engine, **settings) for name, settings in given.items()]
        reliabilities = [
            _reliability(p.get("reliability", 1.0), part) for p, part in zip(given.values(), parts, strict=True)
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        need = '{"parts": {FOLDER: {"temperature": T, "reliability": R}}}'
        raise DataError(f"{fusion}: need {need} ({error!r})") from None
    return Predictor(parts, reliabilities, threshold, n_threads)


def _parts_of(fusion: Path) -> dict[str, Any]:
    return json.loads(fusion.read_text(encoding="utf-8"))["parts"]


def _part(folder: Path, engine: Engine, temperature: float | dict[str, float] = 1.0, reliability: Any = None) -> Part:
    """A part of a fusion; its reliability is the fusion's affair."""
    by_duration = duration_temperature(temperature)  # first, for it is quicker read than the network
    return Part(open_trained(folder, engine), str(folder), by_duration)


def _reliability(given: float | dict[str, float], part: Part) -> Reliability:
    return np.array([float(given[name]) for name in part.classes]) if isinstance(given, dict) else float(given)
