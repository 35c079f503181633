"""Body motion in a video: the upper body of the speaker, through R3D-18."""

from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emofuse.errors import ConfigError, DataError
from emofuse.features.body import CLIP_FRAMES, CLIP_SIZE, FRAME_RATE, N_FEATURES, body_clips
from emofuse.features.extractor import Extractor
from emofuse.features.faces import make_detector, speaking_face, track_faces
from emofuse.features.hub import sha256
from emofuse.media.video import Frame

if TYPE_CHECKING:
    from emofuse.models.r3d import R3D18


def body_motion(
    encoder: str | Path | None = None,
    detector: str | Path | None = None,
    centre_without_face: bool = False,
    device: str = "cpu",
) -> Extractor:
    """Body motion of the speaker: 512 values for each clip of 16 frames (1.07 s) of the upper body.

    In pictures of several people the speaker is the one whose mouth moves most; for IEMOCAP, cut the frames
    with `emofuse.features.faces.speaker_half` first.

    Args:
        encoder: File of the weights of torchvision's `r3d_18`; see `emofuse.models.r3d.load_r3d`. There is no default.
        detector: File of a face detector, see `emofuse.features.faces.make_detector`; None: OpenCV's own.
        centre_without_face: Take the middle of the picture where no face is found, instead of refusing.
        device: Where the network runs.

    Raises:
        ConfigError, DataError: See `emofuse.models.r3d.load_r3d` and `make_detector`. The extractor raises DataError
            if it gets no frames, or finds no face in them.
    """
    if encoder is None:
        raise ConfigError("body-motion: no weights; give a file of torchvision's r3d_18 (.pth or .safetensors)")
    weights, detector_file = Path(encoder), None if detector is None else Path(detector)
    _load(weights, device)
    make_detector(detector_file)
    return Extractor(
        name="body-motion",
        modality="visual",
        dimensions=tuple(f"r3d18 {index}" for index in range(N_FEATURES)),
        rate_hz=FRAME_RATE / CLIP_FRAMES,
        unit="activation, 0 or more",
        compute=partial(_rows, weights, detector_file, centre_without_face, device),
        settings={
            "weights": sha256(weights),
            "detector": "opencv" if detector_file is None else sha256(detector_file),
            "centre_without_face": centre_without_face,
            "clip_frames": CLIP_FRAMES,
            "clip_size": CLIP_SIZE,
        },
        frame_rate=FRAME_RATE,
    )


@cache  # once a process: an Extractor that is sent to a worker carries the paths only
def _load(weights: Path, device: str) -> "R3D18":
    from emofuse.models.r3d import load_r3d  # here, so that features can be listed where torch is not installed

    return load_r3d(weights).to(device)


def _rows(
    weights: Path, detector: Path | None, centre_without_face: bool, device: str, frames: Iterable[Frame]
) -> np.ndarray:
    """(n_clips, 512) of the speaker."""
    import torch

    kept = list(frames)
    track = speaking_face(track_faces(kept, make_detector(detector)))
    if track is None and kept and not centre_without_face:
        raise DataError(f"no face found in {len(kept)} frames, need one to find the upper body")
    model, rows = _load(weights, device), []
    # Clip by clip: an utterance's clips at once would take gigabytes in the first layers.
    with torch.inference_mode():
        for clip in body_clips(kept, track):
            rows.append(model.features(torch.from_numpy(clip)[None].to(device))[0].cpu().numpy())
    return np.stack(rows)
