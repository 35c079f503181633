"""What a feature is computed from."""

from pathlib import Path

import av
import numpy as np
import pytest

from emofuse.corpora.utterance import Utterance
from emofuse.errors import DataError
from emofuse.extraction.sources import Source, read_source, source_key, source_of
from emofuse.features.extractor import Extractor
from emofuse.features.store import FeatureStore

MEAN = Extractor("mean", "visual", ("r", "g", "b"), None, "grey", lambda frames: frames, settings={}, frame_rate=5.0)


def two_people(path: Path) -> Path:
    """A second of video: the left half red, the right half blue."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 72, 48, "yuv420p"
        image = np.zeros((48, 72, 3), np.uint8)
        image[:, :36, 0] = image[:, 36:, 2] = 250
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_of_each_modality():
    u = Utterance("u", "c", text="hi", audio=Path("a.wav"), video=Path("v.mp4"), media_start_s=1, media_end_s=2)
    assert source_of(u, "text") == Source("u", "c", text="hi")
    assert source_of(u, "speech") == Source("u", "c", Path("a.wav"), 1, 2)
    assert source_of(u, "visual") == Source("u", "c", Path("v.mp4"), 1, 2)
    with pytest.raises(DataError, match="no video file"):
        source_of(Utterance("u", "c", audio=Path("a.wav")), "visual")


def test_of_iemocaps_two_people_the_speaker_is_looked_at(tmp_path: Path):
    path = two_people(tmp_path / "Ses01F_impro01.avi")
    store = FeatureStore(tmp_path / "store")
    colours, keys = {}, set()
    for name in ("Ses01F_impro01_F000", "Ses01F_impro01_M000"):
        source = source_of(Utterance(name, "iemocap", video=path), "visual")
        keys.add(source_key(source, store))
        frames = list(read_source(source, MEAN))
        assert frames[0].image.shape[1] == 36
        colours[name[-4]] = frames[0].image.reshape(-1, 3).mean(0).argmax()
    assert colours == {"F": 0, "M": 2}  # named after the woman, who is on the left
    assert len(keys) == 2
