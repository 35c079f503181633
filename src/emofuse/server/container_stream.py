"""Sound of a WebM stream that comes piece by piece, decoded in a process of its own, with limits."""

import asyncio
import contextlib
import io
import multiprocessing
from multiprocessing.connection import Connection

import av
import numpy as np
from av.error import FFmpegError

from emofuse.errors import DataError
from emofuse.media.audio import SAMPLE_RATE
from emofuse.server.sandbox import Limits, limit, start

MAX_WAITING = 4_000_000
"""Bytes of sound that may wait for the server: a piece of a few bytes can stand for hours of silence."""

ANSWER_S = 20.0
"""How long a piece may take to decode."""


class ContainerStream:
    """A decoder at work.

    Args:
        memory: Bytes that it may use.
    """

    def __init__(self, memory: int) -> None:
        """Start the process."""
        self._pipe, theirs = multiprocessing.Pipe()
        limits = Limits(cpu_s=3600, wall_s=0, memory=memory, file_bytes=0)
        self._process = start(_decode, (theirs, limits))
        theirs.close()

    async def push(self, piece: bytes) -> np.ndarray:
        """Further bytes of the stream, and the sound that they make whole: float32 (n_samples,) at 16 kHz.

        Raises:
            DataError: It is no WebM with sound, or the decoder died of it.
        """
        return await asyncio.to_thread(self._exchange, piece)

    async def end(self) -> np.ndarray:
        """The sound that is left."""
        return await asyncio.to_thread(self._exchange, b"")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _exchange(self, piece: bytes) -> np.ndarray:
        try:
            self._pipe.send_bytes(piece)
            if not self._pipe.poll(ANSWER_S):
                raise DataError(f"the stream cannot be decoded: nothing for {ANSWER_S:g} s")
            answer = self._pipe.recv_bytes(MAX_WAITING + 1)
        except (EOFError, OSError):
            raise DataError("the stream cannot be decoded: the decoder died") from None
        if answer[:1] == b"!":
            raise DataError(f"the stream cannot be decoded: {answer[1:].decode('utf-8', 'replace')}")
        return np.frombuffer(answer[1:], np.float32)


class _Source(io.RawIOBase):
    """What has come so far, as a file that waits for more; each wait answers the server first."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.pending, self.is_over = pipe, b"", False
        self.sound: list[np.ndarray] = []
        self.owes = False  # an answer to the piece that came last

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self.pending and not self.is_over:
            self.answer()
            self.pending = self.pipe.recv_bytes()
            self.owes, self.is_over = True, not self.pending
        given, self.pending = self.pending[:size], self.pending[size:]
        return given

    def answer(self) -> None:
        """Send the sound that the last piece has given."""
        if self.owes:
            sound = np.concatenate(self.sound) if self.sound else np.zeros(0, np.float32)
            self.pipe.send_bytes(b"=" + sound.astype(np.float32).tobytes())
            self.sound, self.owes = [], False


def _decode(pipe: Connection, limits: Limits) -> None:
    """Run in the new process: bytes in, sound out."""
    limit(limits)
    source = _Source(pipe)
    options = {"probesize": "32", "analyzeduration": "0"}
    try:
        with av.open(source, "r", format="matroska", options=options) as container:
            resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
            for frame in container.decode(audio=0):
                source.sound += [out.to_ndarray().reshape(-1) for out in resampler.resample(frame)]
            source.sound += [out.to_ndarray().reshape(-1) for out in resampler.resample(None)]
    except (FFmpegError, IndexError, ValueError) as error:
        pipe.send_bytes(b"!" + " ".join(str(error).split()).encode()[:200])
        source.owes = False
    with contextlib.suppress(EOFError, OSError):  # until the server is gone
        source.answer()
        while True:  # what comes after the stream's own end has no sound
            pipe.recv_bytes()
            pipe.send_bytes(b"=")
