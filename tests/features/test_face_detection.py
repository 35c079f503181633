from itertools import pairwise
from pathlib import Path

import av
import cv2
import matplotlib.cbook
import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from emofuse.errors import ConfigError
from emofuse.features.face_detection import (
    Box,
    _BlazeFace,
    _suppress,
    cut_out,
    detect_faces,
    make_detector,
    square_of_landmarks,
)

HOPPER = (265, 200)
"""Bridge of the nose, x and y, in matplotlib's sample picture of Grace Hopper, read off by eye."""


@pytest.fixture(scope="module")
def hopper() -> np.ndarray:
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        picture = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


def test_a_face_is_found_once_and_framed_from_forehead_to_chin(hopper: np.ndarray) -> None:
    (box,) = detect_faces(hopper)
    x, y = (HOPPER[0] - box.x) / box.width, (HOPPER[1] - box.y) / box.height
    assert box.width == box.height
    assert 0.4 < x < 0.6
    assert 0.35 < y < 0.5
    assert 0.5 <= box.score <= 1


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_boxes_are_in_pixels_of_the_picture_at_any_size(hopper: np.ndarray, scale: float) -> None:
    (box,) = detect_faces(hopper)
    (scaled,) = detect_faces(np.asarray(cv2.resize(hopper, None, fx=scale, fy=scale)))
    assert scaled.width == pytest.approx(scale * box.width, rel=0.15)
    assert scaled.x + scaled.width / 2 == pytest.approx(scale * (box.x + box.width / 2), abs=0.1 * scaled.width)


def test_two_faces_are_found_in_their_places(hopper: np.ndarray) -> None:
    left, right = sorted(detect_faces(np.hstack([hopper, hopper])), key=lambda box: box.x)
    assert right.x - left.x == pytest.approx(hopper.shape[1], abs=0.1 * left.width)


@pytest.mark.parametrize("picture", ["china.jpg", "flower.jpg"])
def test_a_photograph_without_faces_has_none(picture: str) -> None:
    assert detect_faces(load_sample_image(picture)) == []


@pytest.mark.parametrize("shape", [(48, 64, 3), (1, 1, 3), (3, 500, 3)])
def test_plain_and_tiny_pictures_have_none(shape: tuple[int, ...]) -> None:
    assert detect_faces(np.full(shape, 90, np.uint8)) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.tflite", None, "no such file"),
        ("network.bin", b"x", "need a face detector's file"),
        ("garbage.tflite", b"not a network", "not BlazeFace"),
        ("garbage.onnx", b"not a network", "not YuNet"),
        ("empty.onnx", b"", "not YuNet"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as error:
        make_detector(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_of_overlapping_boxes_the_surest_stays() -> None:
    boxes = [Box(0, 0, 10, 10, 0.7), Box(1, 0, 10, 10, 0.9), Box(20, 0, 10, 10, 0.6)]
    assert _suppress(boxes) == [boxes[1], boxes[2]]
    assert _suppress([]) == []


def test_anchors_are_the_centres_of_two_and_six_to_a_cell_row_by_row() -> None:
    anchors = _BlazeFace._anchor_centres()
    assert anchors.shape == (896, 2)
    np.testing.assert_allclose(anchors[:3], [[1 / 32, 1 / 32], [1 / 32, 1 / 32], [3 / 32, 1 / 32]])
    np.testing.assert_allclose(anchors[32], [1 / 32, 3 / 32])
    np.testing.assert_allclose(anchors[[512, 517, 518]], [[1 / 16, 1 / 16], [1 / 16, 1 / 16], [3 / 16, 1 / 16]])
    np.testing.assert_allclose(anchors[-1], [15 / 16, 15 / 16])


class OneAnchor(_BlazeFace):
    """BlazeFace whose network sees one face in the first look: 32 × 32 of its 128 × 128 pixels around (48, 64)."""

    def __init__(self) -> None:
        self._anchors = self._anchor_centres()
        self.looks = 0

    def _forward(self, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert square.shape == (128, 128, 3)
        logits, boxes = np.full((896, 1), -200.0, np.float32), np.zeros((896, 16), np.float32)
        if self.looks == 0:
            anchor = 2 * (8 * 16 + 6)  # the cell of column 6, row 8: its centre is at (52, 68)
            logits[anchor], boxes[anchor, :4] = 3.0, (-4, -4, 32, 32)
        self.looks += 1
        return logits, boxes


def test_a_box_of_the_network_is_moved_from_the_padded_square_to_the_picture() -> None:
    detector = OneAnchor()
    # 256 × 192: padded to 256 × 256 with 32 above, so a pixel of the network is two of the picture.
    (box,) = detector(np.zeros((192, 256, 3), np.uint8))
    assert box.score == pytest.approx(1 / (1 + np.exp(-3)))
    assert box.width == box.height == pytest.approx(64 * 1.17)
    assert box.x + box.width / 2 == pytest.approx(96)
    assert box.y + box.height / 2 == pytest.approx(128 - 32 - 0.11 * 64)
    assert detector.looks == 1


def test_a_picture_without_a_large_face_is_looked_at_in_tiles() -> None:
    detector = OneAnchor()
    detector.looks = 1
    assert detector(np.zeros((200, 200, 3), np.uint8)) == []
    assert detector.looks == 1 + 1 + 9  # the picture, and 3 × 3 tiles of half its side


@pytest.mark.parametrize(("height", "width", "side"), [(100, 100, 50), (288, 720, 288), (480, 853, 240), (9, 9, 9)])
def test_tiles_cover_the_picture_and_overlap_by_half(height: int, width: int, side: float) -> None:
    tiles = _BlazeFace._tiles(height, width, side)
    for starts, length in (({t.x for t in tiles}, width), ({t.y for t in tiles}, height)):
        ordered = sorted(starts)
        assert ordered[0] == 0
        assert ordered[-1] + side == length
        assert all(b - a <= side / 2 for a, b in pairwise(ordered))


def test_landmarks_in_the_places_of_fer_give_its_square() -> None:
    # Medians in FER2013's square: eyes (0.311, 0.399) and (0.680, 0.396), mouth (0.499, 0.774).
    points = np.array([(0.311, 0.399), (0.680, 0.396), (0.497, 0.591), (0.40, 0.774), (0.598, 0.774)])
    row = np.concatenate([np.zeros(4), (points * 100 + (20, 30)).ravel() / 2, [0.9]])
    box = square_of_landmarks(row, scale=0.5)
    assert (box.x, box.y, box.width, box.height) == pytest.approx((20, 30, 100, 100), abs=1)
    assert box.score == 0.9


def test_the_whole_picture_is_cut_out_unchanged() -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(cut_out(image, Box(0, 0, 9, 7), 7, 9), image)
    np.testing.assert_array_equal(cut_out(image[..., 0], Box(2, 1, 4, 3), 3, 4), image[1:4, 2:6, 0])


def test_what_is_beyond_the_picture_is_black() -> None:
    image = np.full((4, 4), 200, np.uint8)
    np.testing.assert_array_equal(cut_out(image, Box(-2, -1, 4, 4), 4, 4), [[0] * 4, *[[0, 0, 200, 200]] * 3])
    assert not cut_out(image, Box(10, 0, 4, 4), 3, 5).any()
    assert not cut_out(image, Box(-9, 0, 4, 4), 3, 5).any()
    assert cut_out(np.zeros((4, 4, 3), np.uint8), Box(10, 0, 4, 4), 3, 5).shape == (3, 5, 3)


def test_a_reduction_averages_all_pixels() -> None:
    image = np.indices((16, 16)).sum(axis=0).astype(np.uint8) % 2 * 200  # a chequerboard
    reduced = cut_out(image, Box(0, 0, 16, 16), 4, 4)
    np.testing.assert_allclose(reduced, 100, atol=1)


def test_a_fraction_of_a_pixel_moves_the_picture() -> None:
    ramp = np.tile(np.arange(0, 200, 10, dtype=np.uint8), (5, 1))
    np.testing.assert_allclose(cut_out(ramp, Box(3.5, 1, 4, 2), 2, 4), [[35, 45, 55, 65]] * 2, atol=1)


def test_the_face_of_a_recording_is_found_in_every_frame(corpora_dir: Path) -> None:
    file = sorted((corpora_dir / "clips" / "grid").glob("*.mpg"))[0]
    with av.open(str(file)) as container:
        counts = [len(detect_faces(f.to_ndarray(format="rgb24"))) for f in list(container.decode(video=0))[::15]]
    assert set(counts) == {1}
