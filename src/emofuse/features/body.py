"""The speaker's upper body as the clips that a network of action recognition takes.

Pan et al. 2020, Sec. 3.2, apply a 3D-CNN to "the consecutive visual frames of the speaker's upper body". They
give neither its region nor the length of a clip; both are chosen here: the region in `upper_body`, and 16
pictures at 15 a second, as in the Kinetics-400 training of torchvision's R3D-18.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from emofuse.errors import DataError
from emofuse.features.face_detection import Box, cut_out
from emofuse.features.face_tracking import FaceTrack
from emofuse.media.video import Frame

FRAME_RATE = 15.0
"""Frames a second."""

N_FEATURES = 512
"""Values of a clip: the layer before R3D-18's classifier."""

CLIP_FRAMES = 16
CLIP_SIZE = 112
"""Height and width of a clip's pictures."""

BODY_SIDE = 4.0
"""Side of the region in sides of the face's square: the shoulders with the upper arms, down to the hips."""

BODY_ABOVE = 0.75
"""How far the region begins above the face's square, which ends in the forehead, in the same unit."""

KINETICS_MEAN = np.array([0.43216, 0.394666, 0.37645], np.float32)
KINETICS_STD = np.array([0.22803, 0.22145, 0.216989], np.float32)
"""Of red, green and blue in [0, 1], as torchvision normalises for its video networks."""


def upper_body(face: Box, height: int, width: int) -> Box:
    """The square of a picture (height, width) that shows the upper body below a face.

    It is `BODY_SIDE` times as large as the face's square, centred on it and `BODY_ABOVE` sides higher. Where the
    picture is too small for that, as in close-ups, it is moved into the picture and made smaller, so that the
    network never sees a black border.
    """
    side = min(BODY_SIDE * face.width, float(height), float(width))
    x = face.x + face.width / 2 - side / 2
    y = face.y - BODY_ABOVE * face.height
    return Box(min(max(x, 0.0), width - side), min(max(y, 0.0), height - side), side, side)


def body_clips(frames: Sequence[Frame], track: FaceTrack | None) -> Iterator[np.ndarray]:
    """Successive clips of the upper body, without overlap.

    The region stays in place within a clip, or the body would seem to move whenever the head does: it
    follows the median of the face's boxes there. A last clip of less than half its length is left out
    unless it is the only one; otherwise its last picture is repeated. So no clip depends on later frames.

    Args:
        frames: Of one utterance, at `FRAME_RATE`.
        track: The speaker's face in them; before its begin and after its end it counts as at rest. None: the
            largest square in the middle of the picture.

    Yields:
        (3, 16, 112, 112) float32: channels, time, height, width, normalised by `KINETICS_MEAN` and `KINETICS_STD`.

    Raises:
        DataError: There are no frames.
    """
    if not frames:
        raise DataError("no frames to cut clips from, need at least one")
    n_clips = max(1, (len(frames) + CLIP_FRAMES // 2) // CLIP_FRAMES)
    for start in range(0, n_clips * CLIP_FRAMES, CLIP_FRAMES):
        part = frames[start : start + CLIP_FRAMES]
        height, width = part[0].image.shape[:2]
        region = _middle(height, width) if track is None else upper_body(_face_at(track, part), height, width)
        pictures = [cut_out(frame.image, region, CLIP_SIZE, CLIP_SIZE) for frame in part]
        pictures += pictures[-1:] * (CLIP_FRAMES - len(pictures))
        values = np.stack(pictures).astype(np.float32) / 255
        normal = (values - KINETICS_MEAN) / KINETICS_STD
        yield np.ascontiguousarray(normal.transpose(3, 0, 1, 2))


def _middle(height: int, width: int) -> Box:
    side = float(min(height, width))
    return Box((width - side) / 2, (height - side) / 2, side, side)


def _face_at(track: FaceTrack, frames: Sequence[Frame]) -> Box:
    """Median box of the face in some frames."""
    times = [frame.time_s for frame in frames]
    values = [float(np.median(np.interp(times, track.times, track.boxes[:, k]))) for k in range(4)]
    return Box(*values)
