"""Parts of a video in one pass are those of a pass each."""

from pathlib import Path

import av
import numpy as np
import pytest

from emofuse.media import frames as module
from emofuse.media.frames import FrameReader
from emofuse.media.video import read_frames


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of pictures that get lighter, where parts can be sought (mp4) and where not (mpg)."""
    folder = tmp_path_factory.mktemp("videos")
    for name, codec in (("v.mp4", "mpeg4"), ("v.mpg", "mpeg2video")):
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            for i in range(60 * 25):
                grey = np.full((32, 32, 3), 10 + i // 8, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(stream.encode())
    return folder


PARTS = [(0, 2), (1, 3), (5, 6), (50, 52), (51, 59.9), (40, 41), (0, 1), (58, 90)]


@pytest.mark.parametrize("name", ["v.mp4", "v.mpg"])
def test_parts_in_any_order_are_those_of_a_pass_each(videos: Path, name: str) -> None:
    reader = FrameReader(videos / name, 5.0)
    assert reader.seekable == (name == "v.mp4")
    for start_s, end_s in PARTS:
        found = reader.part(start_s, end_s)
        expected = list(read_frames(videos / name, 5.0, start_s, end_s))
        assert [f.time_s for f in found] == pytest.approx([f.time_s for f in expected], abs=1e-6)
        for a, b in zip(found, expected, strict=True):
            assert abs(float(a.image.mean()) - float(b.image.mean())) < 1.5


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Where each pass over a file began."""
    begun: list[float] = []

    def counted(path, rate, start_s, *rest):
        begun.append(start_s)
        return read_frames(path, rate, start_s, *rest)

    monkeypatch.setattr(module, "read_frames", counted)
    return begun


def test_parts_that_rise_cost_one_pass(videos: Path, passes: list[float]) -> None:
    reader = FrameReader(videos / "v.mpg", 5.0)
    for start_s in range(0, 55, 3):
        reader.part(start_s, start_s + 4)
    assert passes == [0.0]
    assert len(reader._kept) <= 5 * (module.KEEP_S + 4)


def test_a_long_gap_is_skipped_where_that_is_possible(videos: Path, passes: list[float]) -> None:
    reader = FrameReader(videos / "v.mp4", 5.0)
    reader.part(0, 1)
    reader.part(50, 51)
    assert passes == [0, 50]
