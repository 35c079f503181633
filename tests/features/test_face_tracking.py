import weakref
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from emofuse.features.face_detection import Box
from emofuse.features.face_tracking import FaceTrack, face_crops, track_faces
from emofuse.media.video import Frame

SIDE = 60
RATE = 25.0
Place = tuple[float, float] | None


def face_texture(seed: int) -> np.ndarray:
    """(60, 60) uint8: something with structure, different for each seed."""
    coarse = np.random.default_rng(seed).integers(40, 216, (6, 6), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))


def scene(faces: list[tuple[np.ndarray, Place]]) -> np.ndarray:
    image = np.full((200, 300, 3), 100, np.uint8)
    for texture, place in faces:
        if place is not None:
            x, y = map(int, place)
            image[y : y + SIDE, x : x + SIDE] = texture[..., None]
    return image


class Script:
    """Frames made from the places of faces, and a detector that knows them; `hidden` (frame, face) it does not see."""

    def __init__(
        self,
        paths: list[Callable[[int], Place]],
        n: int = 25,
        rate: float = RATE,
        hidden: set[tuple[int, int]] = frozenset(),  # type: ignore[assignment]
        false: dict[int, Box] | None = None,
        textures: list[Callable[[int], np.ndarray]] | None = None,
    ) -> None:
        self.paths, self.n, self.rate, self.hidden, self.false = paths, n, rate, hidden, false or {}
        self.textures = textures or [lambda _, k=k: face_texture(k) for k in range(len(paths))]
        self.at = -1

    def frames(self) -> Iterator[Frame]:
        for i in range(self.n):
            self.at = i
            faces = [(texture(i), path(i)) for texture, path in zip(self.textures, self.paths, strict=True)]
            yield Frame(i / self.rate, scene(faces))

    def detect(self, image: np.ndarray) -> list[Box]:
        places = [path(self.at) for k, path in enumerate(self.paths) if (self.at, k) not in self.hidden]
        boxes = [Box(*place, SIDE, SIDE, 0.9) for place in places if place is not None]
        return boxes + ([self.false[self.at]] if self.at in self.false else [])

    def tracks(self) -> list[FaceTrack]:
        return track_faces(self.frames(), self.detect)


def still(x: float = 100, y: float = 60) -> Callable[[int], Place]:
    return lambda _: (x, y)


def test_one_face_at_rest_is_one_track_of_its_grey_values() -> None:
    (track,) = Script([still()]).tracks()
    np.testing.assert_allclose(track.times, np.arange(25) / RATE)
    np.testing.assert_allclose(track.boxes, [[100, 60, SIDE, SIDE]] * 25)
    assert track.found.all()
    assert track.crops.shape == (25, 96, 96)
    assert track.crops.dtype == np.uint8
    expected = cv2.resize(face_texture(0), (96, 96), interpolation=cv2.INTER_LINEAR).astype(float)
    assert np.abs(track.crops[10][4:-4, 4:-4] - expected[4:-4, 4:-4]).mean() < 3
    np.testing.assert_allclose(track.motion, 0)


def test_two_faces_that_move_are_two_tracks() -> None:
    tracks = Script([lambda i: (20 + 2 * i, 50), lambda i: (220 - 2 * i, 120)]).tracks()
    assert len(tracks) == 2
    for track, step in zip(sorted(tracks, key=lambda t: t.boxes[0, 1]), (2, -2), strict=True):
        assert len(track.times) == 25
        np.testing.assert_allclose(np.diff(track.boxes[5:-5, 0]), step, atol=0.1)


def test_a_short_gap_is_interpolated_and_marked() -> None:
    hidden = {(i, 0) for i in range(8, 14)}
    (track,) = Script([lambda i: (20 + 2 * i, 50)], hidden=hidden).tracks()
    assert len(track.times) == 25
    assert set(np.flatnonzero(~track.found)) == set(range(8, 14))
    np.testing.assert_allclose(track.boxes[5:-5, 0], 20 + 2 * np.arange(5, 20), atol=0.1)
    # The face was cut from where it was last seen: the picture follows it all the same.
    correlation = np.corrcoef(track.crops[11].ravel(), track.crops[3].ravel())[0, 1]
    assert correlation > 0.9


def test_a_face_away_for_long_is_a_new_track_and_gaps_at_the_ends_are_cut() -> None:
    hidden = {(i, 0) for i in (*range(20, 40), *range(70, 75))}
    first, second = Script([still()], n=75, hidden=hidden).tracks()
    assert (first.times[0], first.times[-1]) == (0.0, 19 / RATE)
    assert (second.times[0], second.times[-1]) == (40 / RATE, 69 / RATE)
    assert first.found.all()
    assert second.found.all()


def test_a_passing_mistake_is_dropped() -> None:
    false = {k: Box(10, 10, 30, 30) for k in (4, 5, 6)}
    assert len(Script([still(150, 100)], false=false).tracks()) == 1


def test_at_a_cut_another_face_at_the_same_place_is_another_track() -> None:
    tracks = Script([still()], textures=[lambda i: face_texture(0) if i < 12 else 255 - face_texture(0)]).tracks()
    assert [len(track.times) for track in tracks] == [12, 13]


@pytest.mark.parametrize(("n", "rate"), [(1, 25.0), (3, 25.0), (5, 5.0)])
def test_few_frames_are_enough(n: int, rate: float) -> None:
    (track,) = Script([still()], n=n, rate=rate).tracks()
    assert len(track.times) == n
    assert np.isfinite(track.motion).all()
    assert np.isfinite(track.opening).all()


def test_no_frames_and_no_faces_give_no_tracks() -> None:
    assert track_faces(iter(()), lambda _: []) == []
    assert track_faces([Frame(0.0, scene([]))] * 5, lambda _: []) == []


def test_jitter_of_the_detector_is_smoothed() -> None:
    noise = np.random.default_rng(0).normal(0, 2, (50, 2))
    script = Script([still()], n=50)
    truth = script.detect
    jittery = track_faces(
        script.frames(), lambda image: [Box(b.x + noise[script.at, 0], b.y, SIDE, SIDE) for b in truth(image)]
    )
    assert len(jittery) == 1
    assert jittery[0].boxes[:, 0].std() < 0.6 * noise[:, 0].std()


def with_mouth(dark: Callable[[int], bool]) -> Callable[[int], np.ndarray]:
    def texture(i: int) -> np.ndarray:
        face = face_texture(0).copy()
        face[44:54, 22:40] = 20 if dark(i) else 160
        return face

    return texture


def test_a_moving_mouth_has_motion_and_its_opening_is_dark() -> None:
    (track,) = Script([still()], textures=[with_mouth(lambda i: i % 10 >= 5)]).tracks()
    changes = np.flatnonzero(track.motion > 0.2)
    np.testing.assert_array_equal(changes, [5, 10, 15, 20])
    assert track.opening[7] > track.opening[2] + 0.5


def test_motion_elsewhere_in_the_face_is_none_of_the_mouth() -> None:
    def frowning(i: int) -> np.ndarray:
        face = face_texture(0).copy()
        face[10:20, 10:50] = 90 if i % 2 else 150
        return face

    (track,) = Script([still()], textures=[frowning]).tracks()
    assert track.motion.max() < 0.05


def test_whole_frames_are_not_kept() -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def watched(script: Script) -> Iterator[Frame]:
        nonlocal most
        for frame in script.frames():
            alive.append(weakref.ref(frame.image))
            yield frame
            del frame
            most = max(most, sum(image() is not None for image in alive))

    script = Script([still()], n=20)
    track_faces(watched(script), script.detect)
    assert most <= 2


@pytest.mark.parametrize("size", [48, 96, 100])
def test_faces_are_cut_at_any_size(size: int) -> None:
    (track,) = Script([still()], n=4).tracks()
    times, crops = face_crops(track, size)
    assert times is track.times
    assert crops.shape == (4, size, size)
    assert crops.dtype == np.uint8
    assert crops.mean() == pytest.approx(track.crops.mean(), abs=2)


def test_a_face_at_the_edge_is_cut_with_black_beyond_it() -> None:
    script = Script([still(0, 0)], n=4)
    tracks = track_faces(script.frames(), lambda _: [Box(-30, 0, SIDE, SIDE)])
    assert not tracks[0].crops[:, 7:-7, :42].any()
    assert tracks[0].crops[:, 7:-7, 54:].all()
