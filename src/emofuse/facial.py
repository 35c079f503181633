"""Facial expression in a video: the speaking face, followed and cut out, through a face network."""

from collections.abc import Iterable
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from emofuse.errors import ConfigError, DataError
from emofuse.features.extractor import Extractor
from emofuse.features.faces import face_crops, make_detector, speaking_face, track_faces
from emofuse.features.hub import sha256
from emofuse.media.video import Frame

if TYPE_CHECKING:
    from emofuse.checkpoint import Checkpoint

FRAME_RATE = 5.0
"""Pictures a second: expressions last half a second and more."""


def facial_expression(
    output: Literal["probabilities", "embedding"] = "probabilities",
    encoder: str | Path | None = None,
    detector: str | Path | None = None,
    frame_rate: float = FRAME_RATE,
) -> Extractor:
    """Expression of the speaking face, a row a picture in which it is seen.

    Without sound the speaking face is the one whose mouth moves most, see `speaking_face`.

    Args:
        output: ``probabilities``: of the network's emotions; ``embedding``: the layer before them.
        encoder: Checkpoint folder of a ``face-cnn``; None: the one that ships.
        detector: File of a face detector, see `make_detector`; None: OpenCV's own.
        frame_rate: Pictures a second that are looked at.

    Raises:
        ConfigError: The checkpoint holds another system, or the output is unknown.
        DataError: The checkpoint is missing or damaged.
    """
    folder = Path(str(files("emofuse") / "assets" / "default" / "face")) if encoder is None else Path(encoder)
    checkpoint = _load(folder)
    if output not in ("probabilities", "embedding"):
        raise ConfigError(f"face: no output {output!r}; known: probabilities, embedding")
    n = checkpoint.model_config.channels[-1]
    return Extractor(
        name=f"face-{output}",
        modality="visual",
        dimensions=checkpoint.classes if output == "probabilities" else tuple(f"embedding {i}" for i in range(n)),
        rate_hz=frame_rate,
        unit="probability" if output == "probabilities" else "activation, 0 or more",
        compute=partial(_rows, folder, output, None if detector is None else Path(detector)),
        settings={
            "output": output,
            "weights": sha256(folder / "model.safetensors"),
            "detector": "opencv" if detector is None else sha256(Path(detector)),
            "frame_rate": frame_rate,
        },
        frame_rate=frame_rate,
    )


@cache  # once a process: an Extractor that is sent to a worker carries the folder only
def _load(folder: Path) -> "Checkpoint":
    from emofuse.checkpoint import load_checkpoint  # here, so that features can be listed where torch is not installed
    from emofuse.models.face_cnn import FaceCNN

    checkpoint = load_checkpoint(folder)
    if not isinstance(checkpoint.model, FaceCNN):
        raise ConfigError(f"{folder}: holds {checkpoint.system}, need a face-cnn")
    return checkpoint


def _rows(folder: Path, output: str, detector: Path | None, frames: Iterable[Frame]) -> np.ndarray:
    """(n_pictures, n_values) of the speaking face."""
    import torch

    checkpoint = _load(folder)
    track = speaking_face(track_faces(frames, make_detector(detector)), None)
    if track is None:
        raise DataError("no face found")
    faces = torch.from_numpy(face_crops(track)[1])
    model = checkpoint.model
    with torch.inference_mode():
        if output == "embedding":
            return model.features(faces).numpy()  # type: ignore[operator]
        logits = model(faces[:, None], torch.ones(len(faces), dtype=torch.long))
        return (logits / checkpoint.temperature).softmax(-1).numpy()
