"""The face of whoever speaks in an utterance of a video."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emofuse.features.faces import face_crops, make_detector, speaking_face, track_faces
from emofuse.media.audio import SAMPLE_RATE
from emofuse.media.frames import FrameReader
from emofuse.media.segment import Segment
from emofuse.media.video import Frame, read_frames

SPEAKING_RATE = 25.0
"""Pictures a second by which the speaking one of several faces is told, and steps of the loudness it is told by."""


class FaceFinder:
    """Finds, follows and cuts out the speaking face of an utterance."""

    def __init__(self, detector: Path | None = None, frame_rate: float = 5.0, max_side: int = 640) -> None:
        """Settings.

        Args:
            detector: File of a face detector, see `make_detector`; None: OpenCV's own.
            frame_rate: Pictures a second that are looked at.
            max_side: Pictures are scaled down so that their longer side has at most so many pixels.

        Raises:
            ConfigError: The file is no detector.
        """
        # OpenCV's own is loaded when there is a picture: most recordings have none.
        self._detector = None if detector is None else make_detector(detector)
        self.frame_rate, self.max_side = frame_rate, max_side
        self._reader: FrameReader | None = None

    def faces(self, path: Path, segment: Segment, waveform: np.ndarray | None) -> np.ndarray | None:
        """Faces (n_frames, 48, 48), grey values, of the one who speaks; None when no face is seen.

        Args:
            path: The video.
            segment: The utterance's place in it.
            waveform: Its sound at 16 kHz, by which the one of several faces is chosen whose mouth moves with it.
        """
        if self._reader is None or self._reader.path != path:
            self._reader = FrameReader(path, self.frame_rate, self.max_side)
        if self._detector is None:
            self._detector = make_detector()
        tracks = track_faces(self._reader.part(segment.start_s, segment.end_s), self._detector)
        if len(tracks) < 2:
            return face_crops(tracks[0])[1] if tracks else None
        rate = self.frame_rate
        if self._reader.seekable:  # mouths are too quick for the few pictures that expressions need
            rate = max(SPEAKING_RATE, rate)
            tracks = track_faces(self.frames(path, segment, rate), self._detector)
        track = speaking_face(tracks, None if waveform is None else _loudness(waveform, segment.start_s))
        return None if track is None else face_crops(track)[1][:: max(1, round(rate / self.frame_rate))]

    def frames(self, path: Path, segment: Segment, frame_rate: float) -> Iterator[Frame]:
        """Pictures of an utterance."""
        return read_frames(path, frame_rate, segment.start_s, segment.end_s, self.max_side)


def _loudness(waveform: np.ndarray, start_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds and root mean square of the sound around them."""
    hop = round(SAMPLE_RATE / SPEAKING_RATE)
    blocks = waveform[: len(waveform) // hop * hop].reshape(-1, hop)
    return start_s + (np.arange(len(blocks)) + 0.5) / SPEAKING_RATE, np.sqrt((blocks**2).mean(axis=1))
