"""Faces across the frames of a recording: who is where when, what the mouth does, cut out as in FER2013.

Only small grey pictures are kept, `RAW_SIZE`² bytes a face and frame; whole frames never are.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from emofuse.features.face_detection import Box, Detector, cut_out
from emofuse.media.image import FACE_SIZE
from emofuse.media.video import Frame

MAX_GAP_S = 0.5
"""A face that is not found for longer than this begins a new track."""

MIN_TRACK_S = 0.2
"""Faces found for less than this, or in one frame only, are dropped as mistakes, unless there are no more frames."""

MIN_OVERLAP = 0.3
"""Intersection over union from which two boxes of successive frames may be one face."""

MIN_LIKENESS = 0.5
"""Correlation of grey values from which they are: at a cut, another face is often at the same place.

On the talking heads of GRID, one face half a second apart has 0.84 or more, the median of two people is 0.46.
"""

SMOOTHING_S = 0.1
"""Standard deviation of the Gaussian that smooths the boxes over time."""

RAW_SIZE = 144
RAW_MARGIN = 1.5
"""While tracking, a square of `RAW_MARGIN` times the face is kept in `RAW_SIZE` × `RAW_SIZE` pixels."""

TRACK_SIZE = 96
"""Side of the pictures of a finished track: the face's share of the above."""

MOUTH = (slice(63, 93), slice(24, 72))
"""Rows and columns of the mouth in them; its centre is at 0.77 of the height in FER+."""

LIPS = (slice(66, 93), slice(30, 66))
"""What of it can become dark when the mouth opens."""


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face over a stretch of time.

    Attributes:
        times: (n,) in seconds, rising: every frame from the first to the last where it was found.
        boxes: (n, 4) x, y, width, height of FER2013's square in pixels, smoothed; in frames where it was
            not found, interpolated.
        found: (n,) False where interpolated.
        crops: (n, 96, 96) uint8 grey, the squares.
        motion: (n,) how much the mouth changed since the frame before, in standard deviations of the
            face's grey values; the first frame repeats the second.
        opening: (n,) how dark the darkest fifth of the lips' region is, in the same unit: it rises when
            the mouth opens. Comparable within a track only.
    """

    times: np.ndarray
    boxes: np.ndarray
    found: np.ndarray
    crops: np.ndarray
    motion: np.ndarray
    opening: np.ndarray


class _Sight(NamedTuple):
    """One frame of an unfinished track; `box` is None where the face was not found, `cut` is where `crop` was cut."""

    time_s: float
    box: Box | None
    cut: Box
    crop: np.ndarray


@dataclass
class _Track:
    """A track that may go on."""

    sights: list[_Sight] = field(default_factory=list)

    @property
    def last(self) -> _Sight:
        return next(sight for sight in reversed(self.sights) if sight.box is not None)

    def add(self, frame: Frame, grey: np.ndarray, box: Box | None) -> None:
        """The face in a frame, or where it was last if it was not found."""
        cut = _with_margin(box) if box else self.sights[-1].cut
        self.sights.append(_Sight(frame.time_s, box, cut, cut_out(grey, cut, RAW_SIZE, RAW_SIZE)))


def track_faces(frames: Iterable[Frame], detector: Detector) -> list[FaceTrack]:
    """Follow every face through the frames, in one pass.

    A face is the one of the frame before if its box overlaps and its picture is alike. Where it is not
    found for up to `MAX_GAP_S`, its place is interpolated.

    Args:
        frames: In order of time; 5 a second are enough to follow people who sit, 25 are for `speaking_face`.
        detector: As `make_detector` gives it.

    Returns:
        The tracks in order of their first frame; none if no face was found.
    """
    active: list[_Track] = []
    ended: list[_Track] = []
    times: list[float] = []
    for frame in frames:
        times.append(frame.time_s)
        grey = np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        ended += [track for track in active if frame.time_s - track.last.time_s > MAX_GAP_S]
        active = [track for track in active if frame.time_s - track.last.time_s <= MAX_GAP_S]
        boxes = detector(frame.image)
        matched = _match(active, boxes, grey)
        for index, track in enumerate(active):
            track.add(frame, grey, boxes[matched[index]] if index in matched else None)
        for index in sorted(set(range(len(boxes))) - set(matched.values())):
            track = _Track()
            track.add(frame, grey, boxes[index])
            active.append(track)
    period = float(np.median(np.diff(times))) if len(times) > 1 else MIN_TRACK_S
    needed = min(len(times), max(2, int(np.ceil(MIN_TRACK_S / max(period, 1e-3)))))
    finished = [track for track in ended + active if sum(sight.box is not None for sight in track.sights) >= needed]
    return sorted((_finish(track.sights, period) for track in finished), key=lambda track: track.times[0])


def _match(tracks: list[_Track], boxes: list[Box], grey: np.ndarray) -> dict[int, int]:
    """Index of a track -> index of the box that continues it."""
    if not tracks or not boxes:
        return {}
    from scipy.optimize import linear_sum_assignment  # it takes long to load, and most recordings have no picture

    crops = [cut_out(grey, _with_margin(box), RAW_SIZE, RAW_SIZE) for box in boxes]
    overlaps = np.zeros((len(tracks), len(boxes)))
    for i, track in enumerate(tracks):
        before = track.last
        for j, box in enumerate(boxes):
            overlap = _overlap(before.box, box) if before.box else 0.0
            if overlap >= MIN_OVERLAP and _likeness(before.crop, crops[j]) >= MIN_LIKENESS:
                overlaps[i, j] = overlap
    pairs = zip(*linear_sum_assignment(-overlaps), strict=True)
    return {int(i): int(j) for i, j in pairs if overlaps[i, j] > 0}


def _with_margin(box: Box) -> Box:
    extra = (RAW_MARGIN - 1) / 2
    return Box(
        box.x - extra * box.width,
        box.y - extra * box.height,
        RAW_MARGIN * box.width,
        RAW_MARGIN * box.height,
        box.score,
    )


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union, in [0, 1]."""
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    both = max(0.0, width) * max(0.0, height)
    return both / (a.width * a.height + b.width * b.height - both)


def _likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two pictures' faces at a quarter of the detail, in [-1, 1]; 1 if one is of one grey."""
    inner = slice(round(RAW_SIZE * (1 - 1 / RAW_MARGIN) / 2), round(RAW_SIZE * (1 + 1 / RAW_MARGIN) / 2))
    small = [cv2.resize(crop[inner, inner], (16, 16), interpolation=cv2.INTER_AREA).astype(float) for crop in (a, b)]
    if min(picture.std() for picture in small) < 1:
        return 1.0
    return float(np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1])


def _finish(sights: list[_Sight], period: float) -> FaceTrack:
    """Smooth the boxes, then cut the kept pictures to them."""
    found = np.array([sight.box is not None for sight in sights])
    end = int(np.flatnonzero(found)[-1]) + 1
    sights, found = sights[:end], found[:end]
    times = np.array([sight.time_s for sight in sights])
    seen = np.array([(s.box.x + s.box.width / 2, s.box.y + s.box.height / 2, s.box.width) for s in sights if s.box])
    path = np.stack([np.interp(times, times[found], seen[:, k]) for k in range(3)], axis=1)
    path = gaussian_filter1d(path, SMOOTHING_S / max(period, 1e-3), axis=0, mode="nearest")
    boxes = np.column_stack([path[:, 0] - path[:, 2] / 2, path[:, 1] - path[:, 2] / 2, path[:, 2], path[:, 2]])
    crops = np.stack([_recut(sight, box) for sight, box in zip(sights, boxes, strict=True)])
    return FaceTrack(times, boxes, found, crops, *_mouth(crops))


def _recut(sight: _Sight, box: np.ndarray) -> np.ndarray:
    """The final square out of the picture with margin."""
    scale = RAW_SIZE / sight.cut.width
    x, y, side = (box[0] - sight.cut.x) * scale, (box[1] - sight.cut.y) * scale, box[2] * scale
    return cut_out(sight.crop, Box(x, y, side, side), TRACK_SIZE, TRACK_SIZE)


def _mouth(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 96, 96) -> motion (n,), opening (n,)."""
    spread = np.maximum(crops.std(axis=(1, 2), dtype=np.float32), 1.0)
    mouths = crops[:, MOUTH[0], MOUTH[1]].astype(np.float32)
    change = np.abs(np.diff(mouths, axis=0)).mean(axis=(1, 2)) / spread[1:]
    motion = np.concatenate([change[:1] if len(change) else [0.0], change])
    lips = crops[:, LIPS[0], LIPS[1]].reshape(len(crops), -1)
    return motion.astype(np.float32), -np.percentile(lips, 20, axis=1).astype(np.float32) / spread


def face_crops(track: FaceTrack, size: int = FACE_SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Times (n,) in seconds, and the face in each frame, cut as FER2013 is: (n, size, size) uint8 grey."""
    if size == TRACK_SIZE:
        return track.times, track.crops
    crops = [cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA) for crop in track.crops]
    return track.times, np.stack(crops).astype(np.uint8)
