"""One decoded picture as it is shown: pixels made square, turned and mirrored as its file says, scaled down."""

import math
from fractions import Fraction

import cv2
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

_IDENTITY = (1, 0, 0, 1)


class Picture:
    """A decoded frame and when it is shown; converted once, when it is wanted."""

    def __init__(
        self, frame: VideoFrame, time_s: float, duration_s: float, aspect: Fraction, max_side: int | None
    ) -> None:
        """A frame, when and for how long it is shown, its pixels' width over height; `max_side` as in `read_frames`."""
        self.time_s, self.duration_s = time_s, duration_s
        self._frame, self._aspect, self._max_side = frame, aspect, max_side
        self._image: np.ndarray | None = None

    def image(self) -> np.ndarray | None:
        """(height, width, 3) uint8 RGB as shown; None when it cannot be converted."""
        if self._image is None:
            try:
                stored = self._frame.to_ndarray(format="rgb24")
            except (FFmpegError, ValueError):
                return None
            self._image = _as_shown(stored, self._aspect, display_matrix(self._frame), self._max_side)
        return self._image


def pixel_aspect(stream: VideoStream) -> Fraction:
    """Width of a stored pixel over its height; 1 where it is not given or cannot be."""
    aspect = stream.sample_aspect_ratio
    return aspect if aspect and Fraction(1, 4) <= aspect <= 4 else Fraction(1)


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d) of a display matrix: column x, row y is shown at column ax + cy, row bx + dy."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return _IDENTITY
    values = np.frombuffer(data, dtype=np.int32, count=9)  # pyright: ignore[reportArgumentType]
    return int(values[0]), int(values[1]), int(values[3]), int(values[4])


def degrees_clockwise(matrix: tuple[int, int, int, int]) -> int:
    """By how much a display matrix turns, to the nearest right angle: 0, 90, 180 or 270."""
    return round(math.degrees(math.atan2(matrix[1], matrix[0])) / 90) * 90 % 360


def shown_size(height: int, width: int, aspect: Fraction, max_side: int | None) -> tuple[int, int]:
    """Height and width with square pixels, and scaled down."""
    square = width * float(aspect)
    factor = 1.0 if max_side is None else min(1.0, max_side / max(height, square))
    return max(1, round(height * factor)), max(1, round(square * factor))


def _as_shown(
    stored: np.ndarray, aspect: Fraction, matrix: tuple[int, int, int, int], max_side: int | None
) -> np.ndarray:
    """Scaled, then turned and mirrored to the nearest right angle: (height, width, 3) uint8."""
    height, width = shown_size(stored.shape[0], stored.shape[1], aspect, max_side)
    image = stored
    if (height, width) != stored.shape[:2]:
        shrinks = height <= stored.shape[0] and width <= stored.shape[1]
        kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(stored, (width, height), interpolation=kind), dtype=np.uint8)
    a, b, c, d = matrix
    if abs(b) > abs(a):
        image, across, down = image.swapaxes(0, 1), c, b
    else:
        across, down = a, d
    return np.ascontiguousarray(image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])
