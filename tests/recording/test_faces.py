"""The speaker's face in an utterance of a video."""

from pathlib import Path

import av
import numpy as np
import pytest

from emofuse.media.audio import SAMPLE_RATE, read_audio
from emofuse.media.segment import Segment
from emofuse.predictor import load
from emofuse.recording.faces import FaceFinder, _loudness


def test_loudness_by_hand():
    x = np.concatenate([np.zeros(640), np.full(640, 0.5), np.full(100, 9.0)])  # 40 ms each, and a rest
    times, energy = _loudness(x, 10.0)
    assert times == pytest.approx([10.02, 10.06])
    assert energy == pytest.approx([0, 0.5])
    assert [len(a) for a in _loudness(np.zeros(10), 0.0)] == [0, 0]


def test_no_face_is_none(tmp_path: Path):
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for _ in range(10):
            grey = np.full((120, 160, 3), 90, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    assert FaceFinder().faces(path, Segment(0, 1), np.zeros(SAMPLE_RATE, np.float32)) is None
    assert FaceFinder().faces(path, Segment(5, 6), None) is None  # beyond the pictures


def test_a_talking_head_is_seen_and_heard(corpora_dir: Path):
    clip = min((corpora_dir / "clips" / "grid").glob("*.mpg"))
    faces = FaceFinder().faces(clip, Segment(0.5, 2.5), read_audio(clip, 0.5, 2.5))
    assert faces is not None
    assert faces.shape[1:] == (48, 48)
    assert 8 <= len(faces) <= 10
    (p,) = load().predict(clip)
    assert p.modalities == ("speech", "visual")
    assert p.missing == ("text",)
    assert set(p.weights) == {"speech", "visual"}
    assert set(p.by_modality) == {"speech", "visual"}
