import numpy as np
import pytest

from emofuse.errors import DataError
from emofuse.features.body import CLIP_FRAMES, KINETICS_MEAN, KINETICS_STD, body_clips, upper_body
from emofuse.features.face_detection import Box
from emofuse.features.faces import FaceTrack
from emofuse.media.video import Frame

RATE = 15.0


def track_at(x: np.ndarray, side: float = 20.0, y: float = 20.0) -> FaceTrack:
    n = len(x)
    boxes = np.column_stack([x, np.full(n, y), np.full(n, side), np.full(n, side)])
    return FaceTrack(np.arange(n) / RATE, boxes, np.ones(n, bool), np.zeros((n, 96, 96), np.uint8), *np.zeros((2, n)))


def frames(images: list[np.ndarray]) -> list[Frame]:
    return [Frame(i / RATE, image) for i, image in enumerate(images)]


def plain(n: int, value: int = 128, height: int = 120, width: int = 200) -> list[Frame]:
    return frames([np.full((height, width, 3), value, np.uint8)] * n)


def denormalised(clip: np.ndarray) -> np.ndarray:
    """(3, time, 112, 112) -> (time, 112, 112, 3) grey values."""
    return (clip.transpose(1, 2, 3, 0) * KINETICS_STD + KINETICS_MEAN) * 255


def test_the_region_is_four_faces_wide_and_begins_above_the_head() -> None:
    assert upper_body(Box(100, 50, 40, 40), 480, 640) == Box(40, 20, 160, 160)


@pytest.mark.parametrize(
    ("face", "expected"),
    [
        (Box(0, 50, 40, 40), Box(0, 20, 160, 160)),  # moved right
        (Box(610, 50, 40, 40), Box(480, 20, 160, 160)),  # moved left
        (Box(100, 0, 40, 40), Box(40, 0, 160, 160)),  # moved down
        (Box(100, 400, 40, 40), Box(40, 320, 160, 160)),  # moved up
        (Box(200, 100, 200, 200), Box(60, 0, 480, 480)),  # smaller
    ],
)
def test_the_region_stays_within_the_picture(face: Box, expected: Box) -> None:
    assert upper_body(face, 480, 640) == expected


def test_a_clip_is_normalised_as_for_kinetics() -> None:
    (clip,) = body_clips(plain(16), track_at(np.full(16, 90.0)))
    assert clip.shape == (3, 16, 112, 112)
    assert clip.dtype == np.float32
    assert clip.flags.c_contiguous
    red, green, blue = (
        (128 / 255 - 0.43216) / 0.22803,
        (128 / 255 - 0.394666) / 0.22145,
        (128 / 255 - 0.37645) / 0.216989,
    )
    np.testing.assert_allclose(clip[:, 3, 50, 50], [red, green, blue], rtol=1e-5)
    assert np.ptp(clip, axis=(1, 2, 3)).max() == 0


@pytest.mark.parametrize(("n", "clips"), [(1, 1), (7, 1), (16, 1), (23, 1), (24, 2), (32, 2), (39, 2), (40, 3)])
def test_a_last_clip_of_half_its_length_or_more_is_kept(n: int, clips: int) -> None:
    assert len(list(body_clips(plain(n), None))) == clips


def test_the_last_picture_is_repeated_where_frames_are_missing() -> None:
    images = [np.full((50, 50, 3), 10 * (i + 1), np.uint8) for i in range(10)]
    (clip,) = body_clips(frames(images), None)
    np.testing.assert_allclose(denormalised(clip)[:, 5, 5, 0], [*range(10, 101, 10), *[100] * 6], atol=0.01)


def test_what_the_region_shows_is_cut_out() -> None:
    image = np.zeros((120, 200, 3), np.uint8)
    image[5:85, 60:140] = (200, 100, 50)  # the region of a face at (90, 20) of 20 pixels
    (clip,) = body_clips(frames([image] * 16), track_at(np.full(16, 90.0)))
    inner = denormalised(clip)[:, 2:-2, 2:-2]
    np.testing.assert_allclose(inner, np.broadcast_to([200, 100, 50], inner.shape), atol=0.01)


def test_the_region_keeps_still_in_a_clip_and_follows_from_clip_to_clip() -> None:
    columns = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (120, 200, 3))
    x = np.concatenate([np.linspace(60, 64, 16), np.full(16, 110.0)])
    first, second = (denormalised(clip)[:, 50, :, 0] for clip in body_clips(frames([columns] * 32), track_at(x)))
    assert np.ptp(first, axis=0).max() == 0
    assert second.mean() - first.mean() == pytest.approx(110 - np.median(x[:16]), abs=1)


def test_without_a_face_the_middle_is_taken() -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = 255
    (clip,) = body_clips(frames([image] * 16), None)
    np.testing.assert_allclose(denormalised(clip)[:, :, 1:-1], 255, atol=0.01)


def test_no_clip_depends_on_later_frames() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(48)]
    x = rng.uniform(20, 40, 48)
    whole = list(body_clips(frames(images), track_at(x)))
    short = list(body_clips(frames(images[:32]), track_at(x[:32])))
    assert len(whole) == 3
    for a, b in zip(whole, short, strict=False):
        np.testing.assert_array_equal(a, b)


def test_before_and_after_the_track_the_face_counts_as_at_rest() -> None:
    track = track_at(np.full(4, 90.0))
    first, last = body_clips(plain(32), track)
    assert first.shape == last.shape == (3, CLIP_FRAMES, 112, 112)


def test_no_frames_are_refused() -> None:
    with pytest.raises(DataError, match="no frames"):
        next(body_clips([], None))
