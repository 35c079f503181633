"""Micro-batches: what waits is judged together, and one request's fault is not another's."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import emofuse
from emofuse.media.segment import Segment
from emofuse.recording import Utterance
from emofuse.server.inference import MAX_BATCH, Inference


def utterance(seconds: float, text: str | None = None) -> Utterance:
    noise = np.random.default_rng(round(seconds * 1000)).normal(0, 0.1, round(16_000 * seconds)).astype(np.float32)
    return Utterance(Segment(0, seconds, None, text), noise)


def test_many_at_once_get_what_each_alone_gets() -> None:
    predictor = emofuse.load()
    sizes: list[int] = []
    inference = Inference(predictor, on_batch=sizes.append)
    groups = [[utterance(0.3 + 0.1 * i + 0.05 * j) for j in range(1 + i % 3)] for i in range(12)]

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(inference.observe(group) for group in groups))

    found = asyncio.run(all_at_once())
    inference.close()
    assert sum(sizes) == sum(map(len, groups))
    assert max(sizes) > max(map(len, groups))  # some were taken together
    assert max(sizes) <= MAX_BATCH
    for group, observed in zip(groups, found, strict=True):
        segments = [u.segment for u in group]
        for a, b in zip(predictor.conclude(observed, segments, "x"), predictor.judge(group, "x"), strict=True):
            assert a is not None
            assert b is not None
            assert a.probabilities == pytest.approx(b.probabilities, abs=2e-4)


class Fragile:
    """A predictor that cannot take an utterance of the words ``bad``."""

    def observe(self, utterances: Sequence[Utterance]) -> list[tuple[str | None, ...]]:
        if any(u.segment.text == "bad" for u in utterances):
            raise ZeroDivisionError
        return [(u.segment.text,) for u in utterances]


def test_one_request_s_fault_is_not_another_s() -> None:
    inference = Inference(Fragile())  # type: ignore[arg-type]

    async def together() -> list[Any]:
        waiting = [inference.observe([utterance(0.2, text)]) for text in ("a", "bad", "b")]
        return await asyncio.gather(*waiting, inference.call(lambda: 7), return_exceptions=True)

    a, bad, b, seven = asyncio.run(together())
    inference.close()
    assert (a, b, seven) == ([("a",)], [("b",)], 7)
    assert isinstance(bad, ZeroDivisionError)


def test_closing_finishes_what_waits() -> None:
    inference = Inference(Fragile())  # type: ignore[arg-type]

    async def close_behind() -> Any:
        waiting = [asyncio.ensure_future(inference.observe([utterance(0.2, str(i))])) for i in range(40)]
        await asyncio.sleep(0)
        await asyncio.to_thread(inference.close)
        return await asyncio.gather(*waiting)

    assert asyncio.run(close_behind()) == [[(str(i),)] for i in range(40)]
