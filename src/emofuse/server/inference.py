"""The model at work, off the event loop: one thread, which takes waiting utterances of all requests together."""

import asyncio
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from emofuse.predictor import Observed, Predictor
from emofuse.recording import Utterance

MAX_BATCH = 16
"""Utterances that are judged together at most, and the most that a request gives at a time: no one waits long."""


@dataclass
class _Task:
    """Utterances to judge, or anything else that needs the model; and who waits for it."""

    work: Sequence[Utterance] | Callable[[], Any]
    future: "Future[Any]"


class Inference:
    """One thread that runs a predictor. What has come in while it was at work is taken together (micro-batching).

    A batch is what waits when the thread is free, so that nobody waits for others to come.

    Args:
        predictor: The model.
        n_threads: Processor threads of its computations.
        on_batch: Called with the size of each batch.
    """

    def __init__(
        self, predictor: Predictor, n_threads: int = 1, on_batch: Callable[[int], None] = lambda _n: None
    ) -> None:
        """Start the thread."""
        self._predictor, self._n_threads, self._on_batch = predictor, n_threads, on_batch
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    async def observe(self, utterances: Sequence[Utterance]) -> list[Observed]:
        """`Predictor.observe`, together with what others wait for."""
        return await self._submit(list(utterances))

    async def call(self, work: Callable[[], Any]) -> Any:
        """Run something else that uses the model."""
        return await self._submit(work)

    def close(self) -> None:
        """Finish what waits, and end the thread."""
        self._tasks.put(None)
        self._thread.join()

    async def _submit(self, work: Any) -> Any:
        future: Future[Any] = Future()
        self._tasks.put(_Task(work, future))
        return await asyncio.wrap_future(future)

    def _run(self) -> None:
        if torch := sys.modules.get("torch"):  # the engine, if it is loaded; onnxruntime's graphs use one thread
            torch.set_num_threads(self._n_threads)
        held: _Task | None = None
        while (task := held or self._tasks.get()) is not None:
            held = None
            if not task.future.set_running_or_notify_cancel():
                continue
            if callable(task.work):
                _answer([task], [task.work])
                continue
            batch, n = [task], len(task.work)
            while n < MAX_BATCH and not self._tasks.empty():
                following = self._tasks.get()
                if following is None:
                    self._tasks.put(None)  # the end comes after this batch
                    break
                if callable(following.work) or n + len(following.work) > MAX_BATCH:
                    held = following
                    break
                if following.future.set_running_or_notify_cancel():
                    batch.append(following)
                    n += len(following.work)
            self._on_batch(n)
            self._observe(batch)

    def _observe(self, batch: list[_Task]) -> None:
        """Judge the utterances of a batch together; where that fails, one request after the other."""
        given: list[Sequence[Utterance]] = [task.work for task in batch if not callable(task.work)]
        try:
            found = self._predictor.observe([u for utterances in given for u in utterances])
        except Exception:  # one request's fault must not be another's
            _answer(batch, [lambda us=us: self._predictor.observe(us) for us in given])
            return
        for task, utterances in zip(batch, given, strict=True):
            task.future.set_result(found[: len(utterances)])
            found = found[len(utterances) :]


def _answer(tasks: Sequence[_Task], works: Sequence[Callable[[], Any]]) -> None:
    for task, work in zip(tasks, works, strict=True):
        try:
            task.future.set_result(work())
        except BaseException as error:  # the waiting request raises it
            task.future.set_exception(error)
