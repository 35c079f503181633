"""Voice activity of sound that is still going on: where an utterance begins, and that it has ended."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from emofuse.media.audio import SAMPLE_RATE
from emofuse.media.voice import BELOW, FRAME_SAMPLES, SpeechProbabilities, VoiceConfig

LIVE = VoiceConfig(min_silence_s=0.3)
"""A shorter pause ends an utterance than in a file: nobody wants to wait for the answer."""


@dataclass(frozen=True)
class Spoken:
    """A stretch of speech.

    Attributes:
        number: Of the utterance, from 0.
        start_s, end_s: Place in the stream, with `VoiceConfig.pad_s` as far as there is that much.
        waveform: (n_samples,) of it.
        ended: Whether it is over; else it is what was heard of it so far.
    """

    number: int
    start_s: float
    end_s: float
    waveform: np.ndarray
    ended: bool


class VoiceStream:
    """Finds the utterances of sound that comes piece by piece; how it is cut into pieces makes no difference.

    Memory holds the utterance under way and no more.

    Args:
        config: When speech begins and ends.
        every_s: How often an utterance under way is reported, seconds; the first time when it is that long.
    """

    def __init__(self, config: VoiceConfig = LIVE, every_s: float = 1.0) -> None:
        """At the beginning of the sound."""
        self._config, self._every = config, round(every_s * SAMPLE_RATE)
        self._probabilities = SpeechProbabilities()
        self._kept, self._first = np.zeros(0, np.float32), 0  # samples that may be needed, and the first one's place
        self._heard = 0  # samples whose frames have been judged
        self._start: int | None = None  # of the speech under way
        self._quiet: int | None = None  # since when it pauses
        self._free = 0  # end of the last utterance: the next one's padding does not reach before it
        self._number = 0
        self._reported = 0

    @property
    def is_speaking(self) -> bool:
        """Whether an utterance is under way."""
        return self._start is not None

    @property
    def time_s(self) -> float:
        """Seconds of sound that have been judged."""
        return self._heard / SAMPLE_RATE

    def push(self, block: np.ndarray) -> Iterator[Spoken]:
        """What a further (n_samples,) at 16 kHz in [-1, 1] show: utterances that go on or have ended, in order."""
        self._kept = np.concatenate([self._kept, np.asarray(block, np.float32)])
        yield from self._follow(self._probabilities.push(block))

    def end(self) -> Iterator[Spoken]:
        """The sound is over: so is an utterance that is under way."""
        total = self._first + len(self._kept)
        yield from self._follow(self._probabilities.end())
        if self._start is not None:
            yield from self._close(min(self._quiet or total, total))

    def _follow(self, probabilities: np.ndarray) -> Iterator[Spoken]:
        config = self._config
        for p in probabilities:
            frame, self._heard = self._heard, self._heard + FRAME_SAMPLES
            if p >= config.threshold:
                self._quiet = None
                if self._start is None:
                    self._start, self._reported = frame, frame
            elif self._start is not None and p < config.threshold - BELOW and self._quiet is None:
                self._quiet = frame
            if self._start is None:
                continue
            if self._quiet is not None and self._heard - self._quiet >= config.min_silence_s * SAMPLE_RATE:
                yield from self._close(self._quiet)
            elif self._heard - self._start >= config.max_speech_s * SAMPLE_RATE:
                yield from self._close(self._heard, goes_on=True)
            elif self._heard - self._reported >= self._every:
                self._reported = self._heard
                yield self._spoken(self._start, self._heard, ended=False, padded=False)
        self._forget()

    def _close(self, end: int, goes_on: bool = False) -> Iterator[Spoken]:
        assert self._start is not None
        start, self._start, self._quiet = self._start, end if goes_on else None, None
        self._reported = end
        if end - start >= self._config.min_speech_s * SAMPLE_RATE:
            spoken = self._spoken(start, end, ended=True, padded=not goes_on)
            yield spoken
            self._free = round(spoken.end_s * SAMPLE_RATE)
            self._number += 1

    def _spoken(self, start: int, end: int, ended: bool, padded: bool) -> Spoken:
        pad = round(self._config.pad_s * SAMPLE_RATE)
        first = max(start - pad, self._free, self._first)
        last = min(end + (pad if padded else 0), self._first + len(self._kept))
        waveform = self._kept[first - self._first : last - self._first].copy()
        return Spoken(self._number, first / SAMPLE_RATE, last / SAMPLE_RATE, waveform, ended)

    def _forget(self) -> None:
        """Drop what no utterance will need."""
        needed = (self._heard if self._start is None else self._start) - round(self._config.pad_s * SAMPLE_RATE)
        if needed > self._first:
            self._kept, self._first = self._kept[needed - self._first :], needed
