"""Parts of a video one after the other, in one pass over it."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path

from emofuse.media.video import Frame, probe, read_frames

KEEP_S = 30.0
"""Frames of so many seconds before the newest are kept, for parts that overlap."""

SKIP_S = 30.0
"""A gap between parts from which seeking is quicker than decoding what lies between."""


class FrameReader:
    """Frames of a video part by part, at one rate.

    `read_frames` opens the file anew for every part, and where its container cannot be sought (mpg, ts)
    decodes it from the beginning each time; over the utterances of hours that would never end. Here parts
    that rise in time cost one pass.
    """

    def __init__(self, path: Path, frame_rate: float, max_side: int | None = None) -> None:
        """As `read_frames`; the file is opened at the first part.

        Raises:
            DataError: It cannot be read.
        """
        self.path, self.frame_rate, self.max_side = path, frame_rate, max_side
        self.seekable = probe(path).seekable
        self._frames: Iterator[Frame] = iter(())
        self._kept: deque[Frame] = deque()
        self._from_s = float("inf")  # no part before this can be had without starting anew
        self._done_s = 0.0  # all frames up to here were decoded

    def part(self, start_s: float, end_s: float) -> list[Frame]:
        """Frames from `start_s` on and before `end_s`; errors as `read_frames`."""
        if start_s < self._from_s or (self.seekable and start_s > self._done_s + SKIP_S):
            begin_s = start_s if self.seekable else 0.0
            self._frames = read_frames(self.path, self.frame_rate, begin_s, None, self.max_side)
            self._kept.clear()
            self._from_s = self._done_s = begin_s
        while self._done_s < end_s:
            frame = next(self._frames, None)
            if frame is None:
                self._done_s = float("inf")
                break
            self._done_s = frame.time_s
            self._kept.append(frame)
            while self._kept[0].time_s < min(frame.time_s - KEEP_S, start_s):
                self._kept.popleft()
                self._from_s = self._kept[0].time_s
        return [f for f in self._kept if start_s <= f.time_s < end_s]
