"""From an upload to a timeline: decode in the sandbox, judge in batches, within limits, and never more than fits."""

import asyncio
import math
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from emofuse.errors import ConfigError, DataError
from emofuse.media.recognition import Recogniser
from emofuse.media.segment import Segment
from emofuse.prediction import Timeline
from emofuse.predictor import Observed, Predictor, load
from emofuse.recording import Recording, Utterance
from emofuse.recording.utterances import add_words
from emofuse.server import sandbox
from emofuse.server.decoding import decode, nothing, read_recording, refuse_pictures
from emofuse.server.inference import Inference
from emofuse.server.metrics import Metrics
from emofuse.server.sandbox import CrashError, LimitError, Limits, StoppedError
from emofuse.server.settings import ServerSettings
from emofuse.server.uploads import Upload

CHUNK = 8
"""Utterances that a recording gives to the model at a time: a long one lets others in between."""

ATTEMPTS = 3
"""Decoders that a file may kill: one that is killed from outside is not the file's fault."""

Tell = Callable[[str, float], None]


class BusyError(Exception):
    """The queue is full; `retry_s` is when to come again."""

    def __init__(self, retry_s: int) -> None:
        """In whole seconds."""
        super().__init__(f"the server is busy, try again in {retry_s} s")
        self.retry_s = retry_s


@dataclass(frozen=True)
class Bounds:
    """How much one recording may take: `max_s` of sound, by `deadline` (`time.monotonic`)."""

    max_s: float
    deadline: float

    def left_s(self) -> float:
        """Seconds until the deadline.

        Raises:
            LimitError: It has passed.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise LimitError("takes longer than a request may; send it as a job (POST /v1/jobs)")
        return left


class Service:
    """A model, the processes that decode for it, and what is inside at the moment.

    Attributes:
        predictor: The model.
        recogniser: Finds words; None: none does.
        inference: The thread in which the model runs.
        n_streams: Live connections.
        spool: Folder of the requests' folders.
    """

    def __init__(self, settings: ServerSettings, metrics: Metrics) -> None:
        """Load the model.

        Raises:
            ConfigError, DataError: The model or the recogniser cannot be loaded or served.
        """
        self.settings, self.metrics = settings, metrics
        sandbox.prepare("emofuse.server.decoding", "emofuse.server.container_stream")
        self.predictor: Predictor = load(settings.model, settings.threshold, settings.engine, n_threads=1)
        extracted = [part.features["visual"].extractor for part in self.predictor.parts if "visual" in part.features]
        refuse_pictures([extractor.name for extractor in extracted if extractor is not None])
        self.recogniser = None if settings.asr is None else Recogniser(settings.asr, n_threads=settings.workers)
        self.inference = Inference(self.predictor, 1, metrics.batch.observe)
        # Two places more than requests have, so that jobs go on however many requests there are.
        self._decoders = ThreadPoolExecutor(settings.workers + 2, "decoder")
        self._n_inside = self._n_uploads = self.n_streams = 0
        self._pace_s = 0.5  # what a request has taken lately
        self.spool = settings.state / "spool"
        shutil.rmtree(self.spool, ignore_errors=True)  # what a killed server has left
        self.spool.mkdir(parents=True, mode=0o700)
        # Now, not with the first request: the clean process takes seconds to load what decoding needs.
        sandbox.run(nothing, self.spool, {}, Limits(60, 60, settings.decode_memory, 0), lambda _what, _share: None)

    def close(self) -> None:
        """End the threads; what runs is finished."""
        self._decoders.shutdown()
        self.inference.close()
        shutil.rmtree(self.spool, ignore_errors=True)

    @property
    def is_full(self) -> bool:
        """Whether a request that came now would be refused."""
        return self._n_inside >= self.settings.workers + self.settings.queue

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder for a request's upload, gone with it. Uploading takes no place in the queue: it may be slow.

        Raises:
            BusyError: The queue is full already, or too many others are uploading.
        """
        if self.is_full or self._n_uploads >= self.settings.max_uploads:
            raise self._busy()
        folder = self.spool / uuid.uuid4().hex
        self._n_uploads += 1
        try:
            folder.mkdir(mode=0o700)
            yield folder
        finally:
            self._n_uploads -= 1
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def place(self) -> Iterator[None]:
        """A request's place in the queue.

        Raises:
            BusyError: The queue is full.
        """
        if self.is_full:
            raise self._busy()
        self._n_inside += 1
        self.metrics.waiting.set(self._n_inside)
        started = time.monotonic()
        try:
            yield
        finally:
            self._n_inside -= 1
            self.metrics.waiting.set(self._n_inside)
            self._pace_s += 0.1 * (min(time.monotonic() - started, 60) - self._pace_s)

    def _busy(self) -> BusyError:
        self.metrics.refused.inc()
        return BusyError(max(1, math.ceil(self._pace_s * self._n_inside / self.settings.workers)))

    async def predict(self, upload: Upload, bounds: Bounds, tell: Tell, stop: threading.Event) -> Timeline:
        """What `emofuse predict` gives of the upload.

        Raises:
            DataError, ConfigError: As there.
            LimitError: It is too long, too large or too slow.
            CrashError: It kills the decoder again and again.
            StoppedError: `stop` was set.
        """
        started = time.monotonic()
        options = upload.options
        if options.text is not None and not options.text.strip():
            raise DataError("the text is empty, give the words that were said or leave it out")
        if options.asr and self.recogniser is None:
            raise ConfigError("asr: this server has no recogniser; it was started without --asr")
        if "media" in upload.files:
            recording = await self._decode(upload, bounds, tell, stop)
        elif options.text is not None:
            recording = Recording("text", 0.0, [Segment(0.0, 0.0, None, options.text)], None)
        else:
            raise DataError("nothing to judge: send a recording (file `media`, or as the body), or a text")
        if options.asr and recording.sound is not None:
            recording = await self._with_words(recording, bounds, tell)
        timeline = await self._judge(recording, bounds, tell, stop)
        self.metrics.audio.inc(timeline.duration_s)
        if timeline.duration_s > 0:
            self.metrics.real_time.observe((time.monotonic() - started) / timeline.duration_s)
        return timeline

    async def _decode(self, upload: Upload, bounds: Bounds, tell: Tell, stop: threading.Event) -> Recording:
        """The recording in the upload's folder; a decoder that dies is given another chance."""
        settings = self.settings
        names = {key: upload.files.get(key) for key in ("media", "segments", "transcript")}
        inner = upload.folder / "work"
        given = {
            **{key: name and f"../{name}" for key, name in names.items()},
            "text": upload.options.text,
            "whole": upload.options.whole,
            "needs": self.predictor.modalities,
            "max_s": bounds.max_s,
            "max_pixels": settings.max_pixels,
        }

        def attempt() -> dict:
            shutil.rmtree(inner, ignore_errors=True)
            inner.mkdir()
            left = bounds.left_s()
            # Float samples, and as much again for what the decoder writes down meanwhile.
            limits = Limits(left, left, settings.decode_memory, round(bounds.max_s * 64_000) + 50_000_000)
            return sandbox.run(decode, inner, given, limits, tell, stop)

        def attempts() -> dict:
            for _ in range(ATTEMPTS - 1):
                try:
                    return attempt()
                except CrashError:
                    self.metrics.crashes.inc()
            return attempt()

        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._decoders, attempts)
        except (DataError, ConfigError, LimitError) as error:
            raise type(error)(_as_named(str(error), upload)) from None
        found["problems"] = [_as_named(problem, upload) for problem in found["problems"]]
        return replace(read_recording(inner, found), source=Path(upload.files["media"]).name)

    async def _with_words(self, recording: Recording, bounds: Bounds, tell: Tell) -> Recording:
        """The recording with the words that are heard in it."""
        recogniser, sound = self.recogniser, recording.sound
        assert recogniser is not None
        assert sound is not None

        def on_progress(seconds: float) -> None:
            bounds.left_s()
            tell("recognising", min(1.0, seconds / recording.duration_s))

        work = lambda: add_words(recording.segments, sound, recogniser, on_progress)  # noqa: E731
        return replace(recording, segments=await asyncio.get_running_loop().run_in_executor(self._decoders, work))

    async def _judge(self, recording: Recording, bounds: Bounds, tell: Tell, stop: threading.Event) -> Timeline:
        """Judge the utterances, a few at a time."""
        utterances = recording.utterances()
        observed: list[Observed] = []
        last: list[Utterance] = []
        while chunk := await asyncio.to_thread(lambda: list(islice(utterances, CHUNK))):
            if stop.is_set():
                raise StoppedError("stopped")
            bounds.left_s()
            observed += await self.inference.observe(chunk)
            last = chunk
            tell("predicting", len(observed) / len(recording.segments))

        def conclude() -> Timeline:
            predictions = self.predictor.conclude(observed, recording.segments, recording.source)
            return self.predictor.summarise(recording, predictions, last)

        return await self.inference.call(conclude)


def _as_named(message: str, upload: Upload) -> str:
    """A message of the decoder, with the files called as their owner calls them."""
    for name in upload.files.values():
        message = message.replace(f"../{name}", Path(name).name)
    return message
