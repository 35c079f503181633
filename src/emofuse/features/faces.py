"""Faces, from pictures to the speaker's: found and followed by the two files that this one joins."""

import re
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d

from emofuse.errors import DataError
from emofuse.features.face_detection import Box, Detector, detect_faces, make_detector
from emofuse.features.face_tracking import FaceTrack, face_crops, track_faces
from emofuse.media.video import Frame

__all__ = [
    "Box",
    "Detector",
    "FaceTrack",
    "detect_faces",
    "face_crops",
    "make_detector",
    "speaker_half",
    "speaking_face",
    "track_faces",
]

MIN_FRAMES = 12
"""Frames with sound from which the movement of a mouth is compared with the sound."""

MAX_PERIOD_S = 0.05
"""Time between frames up to which it is: at half of 25 a second the fit of mouth and sound is nearly lost."""

MIN_SHARE = 0.5
"""A speaker's face is there for this share of the time of the face that is there for longest."""

MOTION_WEIGHT = 0.5
"""Of the logarithm of the mean motion beside the two correlations; on GRID's faces 0 to 1 differ little."""

_DYNAMIC_RANGE_DB = 35.0
_SMOOTHING_FRAMES = 0.8


def speaking_face(tracks: Sequence[FaceTrack], voice: tuple[np.ndarray, np.ndarray] | None = None) -> FaceTrack | None:
    """The face whose mouth moves in step with the sound.

    A mouth that speaks opens when it gets louder, moves when the loudness changes, and moves more than
    a listener's: the score is the correlation of `FaceTrack.opening` with the energy, plus that of
    `FaceTrack.motion` with the change of the energy in decibels, plus half the logarithm of the mean
    motion (Chandrasekaran et al. 2009 describe the first two). Without sound the last alone decides, and
    where nothing moves, the size of the face.

    Args:
        tracks: Of one utterance. From frames at less than 20 a second (`MAX_PERIOD_S`) the sound is not used.
        voice: Times in seconds, rising, and the sound's energy there: root mean squares of short windows,
            >= 0, at least as dense as the frames. None without sound.

    Returns:
        One of the tracks; None if there are none.

    Raises:
        DataError: `voice` is not two arrays (n,) of one length, the times rising, the energy 0 or more.
    """
    if voice is not None:
        voice = _checked(*voice)
    if not tracks:
        return None
    longest = max(len(track.times) for track in tracks)
    present = [track for track in tracks if len(track.times) >= MIN_SHARE * longest]
    scores = [_in_step(track, voice) for track in present]
    # Faces are compared by the same evidence: with the sound only if all of them can be.
    compared = all(score is not None for score in scores)

    def rank(index: int) -> tuple[float, float, float]:
        track = present[index]
        step = (scores[index] or 0.0) if compared else 0.0
        return step, float(track.motion.mean()), float(track.boxes[:, 2].mean())

    return present[max(range(len(present)), key=rank)]


def _checked(times: np.ndarray, energy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    times, energy = np.asarray(times, dtype=float), np.asarray(energy, dtype=float)
    if times.ndim != 1 or times.shape != energy.shape or not (np.diff(times) > 0).all() or not (energy >= 0).all():
        raise DataError(
            f"voice: times {times.shape}, energy {energy.shape}; need two of (n,), times rising, energy >= 0"
        )
    return times, energy


def _in_step(track: FaceTrack, voice: tuple[np.ndarray, np.ndarray] | None) -> float | None:
    """The score above; None without enough sound or frames to compare, or if mouth or sound do not change."""
    if voice is None or len(voice[0]) < 2:
        return None
    inside = (track.times >= voice[0][0]) & (track.times <= voice[0][-1])
    if inside.sum() < MIN_FRAMES or np.median(np.diff(track.times[inside])) > MAX_PERIOD_S:
        return None
    energy = _energy_at(track.times[inside], *voice)
    floor = max(float(energy.max()), 1e-9) * 10 ** (-_DYNAMIC_RANGE_DB / 20)
    level = np.log(np.maximum(energy, floor))
    change = np.abs(np.gradient(gaussian_filter1d(level, 1.0)))
    motion = track.motion[inside].astype(float)
    series = np.stack([track.opening[inside], energy, motion, change]).astype(float)
    series = gaussian_filter1d(series, _SMOOTHING_FRAMES, axis=1)
    if series.std(axis=1).min() < 1e-9:
        return None
    correlations = np.asarray(np.corrcoef(series))
    in_step = float(correlations[0, 1] + correlations[2, 3])
    return in_step + MOTION_WEIGHT * float(np.log(motion.mean()))


def _energy_at(frames: np.ndarray, times: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Mean energy around each frame, by the integral, so that sound denser than the frames is not skipped over."""
    integral = np.concatenate([[0.0], np.cumsum(np.diff(times) * (energy[1:] + energy[:-1]) / 2)])
    half = float(np.median(np.diff(frames))) / 2
    start, end = np.maximum(frames - half, times[0]), np.minimum(frames + half, times[-1])
    return (np.interp(end, times, integral) - np.interp(start, times, integral)) / np.maximum(end - start, 1e-9)


_IEMOCAP_ID = re.compile(r"Ses\d\d([FM])_(?:impro|script)\w+_([FM])\w+", re.ASCII)
_IEMOCAP_SHAPE = 720 / 480
_IEMOCAP_BAND = (112 / 480, 368 / 480)


def speaker_half(frame: Frame, utterance_id: str) -> Frame:
    """The speaker's half of one of IEMOCAP's pictures, which show both actors side by side.

    The rule: a recording is named after the actor who wears the markers (``Ses01F_impro01``: the woman),
    and that actor is on the left; the last letter of the utterance's id (``_M012``) is who speaks. The
    release's pictures are 720 × 480 with the actors in rows 112 to 367 and black above and below; in
    pictures of that shape, whatever their size, the black is cut off too.

    This project has no copy of the recordings to confirm the rule by. It relies on public preparations of the
    corpus, independent by their code, that agree on the side (MEmoBERT's ``preprocess/iemocap/cut_video.sh`` says
    it in words); the rows are those of a single one. Look at some frames of your copy.

    Args:
        frame: A picture of a dialogue's ``.avi``, at any size.
        utterance_id: Such as ``Ses01F_impro01_M012``.

    Returns:
        The half, a view of the picture, with the same time.

    Raises:
        DataError: It is not the id of one of IEMOCAP's utterances.
    """
    match = _IEMOCAP_ID.fullmatch(utterance_id)
    if match is None:
        raise DataError(f"{utterance_id}: not an id of IEMOCAP, need one such as Ses01F_impro01_M012")
    height, width = frame.image.shape[:2]
    middle = width // 2
    rows = slice(None)
    if abs(width / height - _IEMOCAP_SHAPE) < 0.01:
        rows = slice(*(round(edge * height) for edge in _IEMOCAP_BAND))
    columns = slice(0, middle) if match[1] == match[2] else slice(middle, width)
    return Frame(frame.time_s, frame.image[rows, columns])
