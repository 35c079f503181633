from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from emofuse.errors import DataError
from emofuse.features.faces import FaceTrack, face_crops, make_detector, speaker_half, speaking_face, track_faces
from emofuse.media.video import Frame

RATE = 25.0
N = 75


def loudness(seed: int, n: int = N) -> np.ndarray:
    """Energy of syllables (n,), >= 0: a smooth random curve."""
    steps = np.random.default_rng(seed).uniform(0, 1, n // 5 + 2)
    return np.interp(np.arange(n), np.arange(len(steps)) * 5, steps)


def track_of(energy: np.ndarray, motion: float = 0.05, side: float = 100.0, start: int = 0) -> FaceTrack:
    """A face whose mouth follows the energy: open when loud, moving when it changes."""
    n = len(energy)
    moving = np.abs(np.gradient(np.log(energy + 0.02)))
    return FaceTrack(
        times=(np.arange(n) + start) / RATE,
        boxes=np.tile([0.0, 0.0, side, side], (n, 1)),
        found=np.ones(n, bool),
        crops=np.zeros((n, 96, 96), np.uint8),
        motion=(motion * (0.5 + moving / moving.mean()) / 1.5).astype(np.float32),
        opening=energy.astype(np.float32) - 1,
    )


def voice_of(energy: np.ndarray, per_frame: int = 1) -> tuple[np.ndarray, np.ndarray]:
    times = np.arange(len(energy) * per_frame) / (RATE * per_frame)
    return times, np.interp(times, np.arange(len(energy)) / RATE, energy)


@pytest.mark.parametrize("per_frame", [1, 4])
@pytest.mark.parametrize("seed", range(6))
def test_of_two_who_speak_the_one_in_step_with_the_sound_is_chosen(seed: int, per_frame: int) -> None:
    tracks = [track_of(loudness(seed)), track_of(loudness(seed + 50))]
    for speaker in (0, 1):
        voice = voice_of(loudness(seed + 50 * speaker), per_frame)
        assert speaking_face(tracks, voice) is tracks[speaker]


def test_loudness_of_the_recording_does_not_matter() -> None:
    tracks = [track_of(loudness(1)), track_of(loudness(2))]
    times, energy = voice_of(loudness(2))
    assert speaking_face(tracks, (times, energy * 1e-3)) is tracks[1]


def test_one_face_is_the_speakers_with_and_without_sound() -> None:
    track = track_of(loudness(0))
    assert speaking_face([track]) is track
    assert speaking_face([track], voice_of(loudness(9))) is track
    assert speaking_face([track], (np.zeros(0), np.zeros(0))) is track


def test_no_faces_no_speaker() -> None:
    assert speaking_face([]) is None
    assert speaking_face([], voice_of(loudness(0))) is None


def silent(n: int = N) -> tuple[np.ndarray, np.ndarray]:
    return voice_of(np.zeros(n))


@pytest.mark.parametrize("voice", [None, silent(), voice_of(loudness(3, 8))])
def test_without_sound_to_compare_the_mouth_that_moves_most_decides(
    voice: tuple[np.ndarray, np.ndarray] | None,
) -> None:
    tracks = [track_of(loudness(0), motion=0.03), track_of(loudness(1), motion=0.06)]
    assert speaking_face(tracks, voice) is tracks[1]
    assert speaking_face(tracks[::-1], voice) is tracks[1]


def test_at_few_frames_a_second_the_sound_is_not_used() -> None:
    tracks = [track_of(loudness(0), motion=0.03), track_of(loudness(1), motion=0.031)]
    slow = [replace(track, times=track.times * 5) for track in tracks]
    times, energy = voice_of(loudness(0))
    assert speaking_face(tracks, (times, energy)) is tracks[0]
    assert speaking_face(slow, (times * 5, energy)) is slow[1]


def test_where_nothing_moves_the_largest_face_decides() -> None:
    tracks = [track_of(loudness(0), motion=0.0, side=side) for side in (50, 120, 80)]
    assert speaking_face(tracks) is tracks[1]


def test_a_face_that_is_there_only_briefly_is_not_the_speakers() -> None:
    present, brief = track_of(loudness(0), motion=0.02), track_of(loudness(0, 20), motion=0.2)
    assert speaking_face([brief, present]) is present


def test_times_of_sound_and_faces_are_compared() -> None:
    """The sound is of frames 100 to 175: neither track fits it if their times were taken to begin at 0."""
    energy = loudness(5)
    tracks = [track_of(energy, start=100), track_of(loudness(6), start=100)]
    times, values = voice_of(energy)
    assert speaking_face(tracks, (times + 100 / RATE, values)) is tracks[0]


@pytest.mark.parametrize(
    "voice",
    [
        (np.arange(3.0), np.zeros(4)),
        (np.zeros((2, 2)), np.zeros((2, 2))),
        (np.array([0.0, 0.2, 0.1]), np.zeros(3)),
        (np.array([0.0, np.nan, 0.1]), np.zeros(3)),
        (np.arange(3.0), np.array([0.1, np.nan, 0.2])),
        (np.arange(3.0), np.array([0.1, -0.1, 0.2])),
    ],
)
def test_sound_of_another_form_is_refused(voice: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(DataError, match="voice"):
        speaking_face([track_of(loudness(0))], voice)


def quarters(height: int, width: int) -> np.ndarray:
    """A picture whose red is the row's and whose green is the column's number, in 255ths of the size."""
    rows, columns = np.indices((height, width))
    picture = np.stack([rows * 255 // height, columns * 255 // width, np.zeros_like(rows)], axis=-1)
    return picture.astype(np.uint8)


@pytest.mark.parametrize(
    ("utterance_id", "left"),
    [
        ("Ses01F_impro01_F000", True),
        ("Ses01F_impro01_M012", False),
        ("Ses04M_script01_3_M020", True),
        ("Ses05M_script03_2_F041", False),
        ("Ses03M_script02_1_FXX1", False),
    ],
)
def test_the_actor_whose_letter_names_the_recording_is_on_the_left(utterance_id: str, left: bool) -> None:
    time_s, half = speaker_half(Frame(1.5, quarters(480, 720)), utterance_id)
    assert time_s == 1.5
    assert half.shape == (256, 360, 3)
    np.testing.assert_array_equal(
        half, quarters(480, 720)[112:368, :360] if left else quarters(480, 720)[112:368, 360:]
    )


def test_a_smaller_copy_is_cut_alike_and_one_without_bars_keeps_its_height() -> None:
    assert speaker_half(Frame(0, quarters(240, 360)), "Ses01F_impro01_F000").image.shape == (128, 180, 3)
    assert speaker_half(Frame(0, quarters(256, 720)), "Ses01F_impro01_F000").image.shape == (256, 360, 3)


@pytest.mark.parametrize(
    "utterance_id", ["", "Ses01F_impro01", "Ses01X_impro01_F000", "dia0_utt0", "xSes01F_impro01_F000"]
)
def test_other_ids_are_refused(utterance_id: str) -> None:
    with pytest.raises(DataError, match="not an id of IEMOCAP"):
        speaker_half(Frame(0, quarters(48, 72)), utterance_id)


def test_a_recorded_face_is_followed_and_cut_with_eyes_and_mouth_in_place(corpora_dir: Path) -> None:
    file = sorted((corpora_dir / "clips" / "grid").glob("*.mpg"))[0]
    with av.open(str(file)) as container:
        frames = [Frame(i / RATE, f.to_ndarray(format="rgb24")) for i, f in enumerate(container.decode(video=0))][:20]
    (track,) = track_faces(frames, make_detector())
    assert track.found.all()
    _, crops = face_crops(track)
    assert crops.shape == (20, 48, 48)
    darkness = 255 - crops.mean(axis=0)
    # Eyes and brows are darker than the cheeks below them.
    assert darkness[14:22, 8:20].mean() > darkness[24:31, 8:20].mean()
    assert darkness[14:22, 28:40].mean() > darkness[24:31, 28:40].mean()
