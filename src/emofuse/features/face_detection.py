"""Faces in one picture: OpenCV's Haar cascade, which needs no file, or a network from a file of the user's.

Every detector gives the same square: the one that FER2013's pictures are cut to, eyes at 0.31 and 0.68
of its width and 0.40 of its height, mouth at 0.77. FER2013 was cut with a Haar cascade, so that
cascade's box is it; the other detectors' boxes are moved and scaled onto it by constants that were
measured on FER+ (``benchmarks/face_detectors.py squares``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import cv2
import numpy as np

from emofuse.errors import ConfigError


@dataclass(frozen=True)
class Box:
    """A rectangle of a picture, in pixels; it may reach beyond the picture.

    Attributes:
        x, y: Left and upper edge.
        width, height: Its size.
        score: How sure the detector is, in [0, 1]; not comparable between detectors.
    """

    x: float
    y: float
    width: float
    height: float
    score: float = 1.0


Detector = Callable[[np.ndarray], list[Box]]
"""From a picture (height, width, 3), uint8 RGB, to squares around its faces, the surest first."""


def detect_faces(image: np.ndarray) -> list[Box]:
    """Faces of a picture (height, width, 3), uint8 RGB, by the detector that needs no file; the surest first."""
    return _default_detector()(image)


def make_detector(file: Path | None = None) -> Detector:
    """A detector, chosen by the type of its file. One detector is for one thread.

    Args:
        file: None: OpenCV's Haar cascade of frontal faces. ``.tflite``: BlazeFace short-range
            (Bazarevsky et al. 2019; ``face_detection_short_range.tflite`` of MediaPipe), which also sees
            faces that are turned away and is quicker. ``.onnx``: YuNet (Wu et al. 2023).

    Raises:
        ConfigError: There is no such file, or it is not one of these networks.
    """
    if file is None:
        return _HaarCascade()
    kinds: dict[str, Callable[[Path], Detector]] = {".tflite": _BlazeFace, ".onnx": _YuNet}
    kind = kinds.get(file.suffix.lower())
    if kind is None:
        raise ConfigError(f"{file}: need a face detector's file: BlazeFace (.tflite) or YuNet (.onnx)")
    if not file.is_file():
        raise ConfigError(f"{file}: no such file, need a face detector's file")
    return kind(file)


def cut_out(image: np.ndarray, box: Box, height: int, width: int) -> np.ndarray:
    """A rectangle of a picture, scaled.

    Args:
        image: (rows, columns) or (rows, columns, 3), uint8.
        box: In pixels, to fractions of one; what of it is beyond the picture is black.
        height: Of the result.
        width: Of the result.

    Returns:
        uint8 (height, width) or (height, width, 3).
    """
    left, top = max(int(box.x) - 1, 0), max(int(box.y) - 1, 0)
    right, bottom = int(np.ceil(box.x + box.width)) + 1, int(np.ceil(box.y + box.height)) + 1
    part = image[top : max(bottom, 0), left : max(right, 0)]
    if part.size == 0:
        return np.zeros((height, width, *image.shape[2:]), np.uint8)
    # A warp looks at four pixels only: it makes a whole multiple of the size, of which means are taken.
    times_x, times_y = max(1, int(np.ceil(box.width / width))), max(1, int(np.ceil(box.height / height)))
    step_x, step_y = box.width / (width * times_x), box.height / (height * times_y)
    # From the result to the part; pixel centres are at halves.
    matrix = np.array([[step_x, 0, box.x - left + step_x / 2 - 0.5], [0, step_y, box.y - top + step_y / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (width * times_x, height * times_y)
    large = cv2.warpAffine(part, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    result = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    # Blackened afterwards: a black border would be blended into the outermost pixels.
    x = box.x + (np.arange(width) + 0.5) * box.width / width
    y = box.y + (np.arange(height) + 0.5) * box.height / height
    result[(y < 0) | (y > image.shape[0])] = 0
    result[:, (x < 0) | (x > image.shape[1])] = 0
    return np.asarray(result, dtype=np.uint8)


@cache
def _default_detector() -> Detector:
    return make_detector()


def _suppress(boxes: Sequence[Box], overlap: float = 0.3) -> list[Box]:
    """The boxes without those that overlap a surer one by more than `overlap` of their union."""
    rectangles = [(box.x, box.y, box.width, box.height) for box in boxes]
    # OpenCV sorts by score; a threshold of 0 keeps all.
    kept = cv2.dnn.NMSBoxes(rectangles, [box.score for box in boxes], 0.0, overlap)
    return [boxes[int(i)] for i in np.asarray(kept).ravel()]


class _HaarCascade:
    """Viola and Jones' detector of frontal faces, in OpenCV's training ``frontalface_alt2``.

    The eye cascade to confirm faces and the profile cascade were tried and left out: the first refuses
    faces with closed eyes, the second triples the time.
    """

    MAX_SIDE = 480
    """Larger pictures are scaled down to this, in pixels."""
    MIN_FACE = 24
    """Side of the smallest face that is looked for, in pixels of the scaled picture."""
    SCALE_STEP = 1.2
    MIN_NEIGHBOURS = 4

    def __init__(self) -> None:
        with as_file(files("cv2.data") / "haarcascade_frontalface_alt2.xml") as file:
            self._cascade = cv2.CascadeClassifier(str(file))

    def __call__(self, image: np.ndarray) -> list[Box]:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        scale = min(1.0, self.MAX_SIDE / max(grey.shape))
        if scale < 1:
            grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found, votes = self._cascade.detectMultiScale2(
            grey, scaleFactor=self.SCALE_STEP, minNeighbors=self.MIN_NEIGHBOURS, minSize=(self.MIN_FACE, self.MIN_FACE)
        )
        # The score grows with the number of sub-windows that agree: 0.5 for the fewest that are accepted.
        boxes = [
            Box(*(float(v) / scale for v in rectangle), score=1 - 0.5 ** (int(vote) / self.MIN_NEIGHBOURS))
            for rectangle, vote in zip(found, np.ravel(votes), strict=True)
        ]
        return sorted(boxes, key=lambda box: -box.score)


class _BlazeFace:
    """BlazeFace short-range in the TFLite file of MediaPipe.

    The network sees 128 × 128 pixels and misses faces below a fifth of that. A picture that is far
    from square is therefore also looked at in overlapping squares, and one where nothing was found
    in squares of half its shorter side: small faces beside a large one are not found.
    """

    SIDE = 128
    OUTPUTS = ("classificators", "regressors")
    MIN_SCORE = 0.6
    GRIDS = ((16, 2), (8, 6))
    """Cells of a side and anchors of a cell, of each of the two maps."""
    SQUARE_SCALE = 1.17
    SQUARE_UP = 0.11
    """FER2013's square: this many widths of the network's box, its centre this many widths higher."""
    ELONGATED = 1.4

    def __init__(self, file: Path) -> None:
        self._anchors = self._anchor_centres()
        try:
            self._net = cv2.dnn.readNetFromTFLite(str(file))
            right = set(self._net.getUnconnectedOutLayersNames()) == set(self.OUTPUTS)
            shapes = [o.shape for o in self._forward(np.zeros((self.SIDE, self.SIDE, 3), np.uint8))] if right else []
        except cv2.error:
            shapes = []
        if shapes != [(len(self._anchors), 1), (len(self._anchors), 16)]:
            raise ConfigError(f"{file}: not BlazeFace short-range, need MediaPipe's face_detection_short_range.tflite")

    def __call__(self, image: np.ndarray) -> list[Box]:
        height, width = image.shape[:2]
        long, short = max(height, width), min(height, width)
        coarse = [Box((width - long) / 2, (height - long) / 2, long, long)]
        if long / short >= self.ELONGATED:
            coarse += self._tiles(height, width, short)
        for windows in (coarse, self._tiles(height, width, short / 2)):
            boxes = _suppress([box for window in windows for box in self._detect(image, window)])
            if boxes:
                break
        return [self._fer_square(box) for box in boxes]

    @classmethod
    def _anchor_centres(cls) -> np.ndarray:
        """(896, 2): x, y in [0, 1], row by row of each map, as the file's outputs are ordered."""
        maps = []
        for cells, anchors in cls.GRIDS:
            y, x = np.indices((cells, cells))
            centres = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells
            maps.append(np.repeat(centres, anchors, axis=0))
        return np.concatenate(maps)

    @staticmethod
    def _tiles(height: int, width: int, side: float) -> list[Box]:
        """Squares that cover the picture and overlap by at least half."""

        def starts(length: float) -> list[float]:
            return np.linspace(0, length - side, int(np.ceil(2 * (length - side) / side)) + 1).tolist()

        return [Box(x, y, side, side) for y in starts(height) for x in starts(width)]

    def _forward(self, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Picture (128, 128, 3) -> scores before the sigmoid (896, 1), and boxes with landmarks (896, 16)."""
        self._net.setInput(cv2.dnn.blobFromImage(square, 1 / 127.5, mean=(127.5,) * 3))
        scores, boxes = self._net.forward(self.OUTPUTS)
        return scores[0], boxes[0]

    def _detect(self, image: np.ndarray, window: Box) -> list[Box]:
        """The network's own boxes in one square of the picture."""
        logits, raw = self._forward(cut_out(image, window, self.SIDE, self.SIDE))
        scores = 1 / (1 + np.exp(-np.clip(logits[:, 0].astype(np.float64), -50, 50)))
        sure = scores >= self.MIN_SCORE
        centres = self._anchors[sure] + raw[sure, :2] / self.SIDE
        sizes = raw[sure, 2:4] / self.SIDE
        corners = np.array([window.x, window.y]) + (centres - sizes / 2) * window.width
        rectangles = np.hstack([corners, sizes * window.width]).astype(float)
        return [Box(*map(float, r), score=float(s)) for r, s in zip(rectangles, scores[sure], strict=True)]

    @classmethod
    def _fer_square(cls, box: Box) -> Box:
        side = box.width * cls.SQUARE_SCALE
        centre_x, centre_y = box.x + box.width / 2, box.y + box.height / 2 - cls.SQUARE_UP * box.width
        return Box(centre_x - side / 2, centre_y - side / 2, side, side, box.score)


class _YuNet:
    """YuNet through OpenCV, which decodes it."""

    MAX_SIDE = 640
    """Larger pictures are scaled down to this, in pixels."""
    MIN_SCORE = 0.6

    def __init__(self, file: Path) -> None:
        try:
            self._net = cv2.FaceDetectorYN.create(str(file), "", (320, 320), self.MIN_SCORE)
            self._net.detect(np.zeros((320, 320, 3), np.uint8))
        except cv2.error:
            raise ConfigError(f"{file}: not YuNet, need OpenCV's face_detection_yunet .onnx file") from None

    def __call__(self, image: np.ndarray) -> list[Box]:
        scale = min(1.0, self.MAX_SIDE / max(image.shape[:2]))
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if scale < 1:
            bgr = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        self._net.setInputSize((bgr.shape[1], bgr.shape[0]))
        _, rows = self._net.detect(bgr)
        boxes = [] if rows is None else [square_of_landmarks(row, scale) for row in rows]
        return sorted(boxes, key=lambda box: -box.score)


def square_of_landmarks(row: np.ndarray, scale: float = 1.0) -> Box:
    """FER2013's square of a face from its eyes and mouth.

    Args:
        row: (15,) as YuNet gives it: box, then x, y of right eye, left eye, nose, right and left corner
            of the mouth, then the score.
        scale: The positions are divided by it.
    """
    right_eye, left_eye, _, *corners = row[4:14].reshape(5, 2) / scale
    eyes, mouth = (right_eye + left_eye) / 2, (corners[0] + corners[1]) / 2
    # Both distances, or a face that is turned away would seem smaller.
    spread = np.hypot(np.linalg.norm(left_eye - right_eye), np.linalg.norm(mouth - eyes))
    side = float(spread) / 0.53
    centre = (eyes + mouth) / 2
    return Box(float(centre[0]) - 0.5 * side, float(centre[1]) - 0.586 * side, side, side, float(row[14]))
