"""Predictions while people are talking: provisional ones of an utterance under way, a final one when it has ended."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from emofuse.media.segment import Segment
from emofuse.media.voice_stream import LIVE, Spoken, VoiceStream
from emofuse.prediction import Prediction
from emofuse.predictor.past import Past
from emofuse.predictor.predictor import Observed, Predictor
from emofuse.recording import Utterance
from emofuse.recording.utterances import AUDIBLE

REACH_S = 2.0
"""Words that come so soon after an utterance has ended are still its own."""


@dataclass(frozen=True)
class Heard:
    """An utterance to judge.

    Attributes:
        number: From 0, in the order of their ends.
        utterance: Its sound and words as far as they have come.
        kind: ``provisional``: it goes on. ``final``: it has ended. ``revised``: words have come after its end.
    """

    number: int
    utterance: Utterance
    kind: str


@dataclass(frozen=True)
class LivePrediction:
    """What is made of it: the prediction is None where the model can use nothing of the utterance."""

    number: int
    kind: str
    prediction: Prediction | None


class Live:
    """One conversation that goes on.

    ::

        live = Live(emofuse.load())
        for block in microphone:           # float32 (n_samples,), mono at 16 kHz
            for found in live.push(block):
                print(found.kind, found.prediction)

    Words may come with it (`say`): while an utterance is under way, or within `REACH_S` after its end, they are its
    own; else they are the next one's. What a contextual model knows of the utterances before is carried from one to the
    next, so that each costs the same; it never waits for those after.

    Args:
        predictor: The model.
        source: What predictions call the conversation.
        every_s: How often an utterance under way is judged; None: never.
    """

    def __init__(self, predictor: Predictor, source: str = "live", every_s: float | None = 1.0) -> None:
        """Nothing has been heard yet."""
        self.predictor, self.source = predictor, source
        self._voice = VoiceStream(LIVE, every_s or float(LIVE.max_speech_s + 1))
        self._number = 0  # of utterances that have ended
        self._words: list[str] = []
        self._speaker: str | None = None
        self._last: Utterance | None = None
        self._before = [Past() for _ in predictor.parts]  # the last final one
        self._past = [Past() for _ in predictor.parts]  # what comes

    # What is heard and what is made of it are apart, so that a server can judge elsewhere.

    def listen(self, block: np.ndarray) -> Iterator[Heard]:
        """The utterances that are to be judged after a further (n_samples,) at 16 kHz in [-1, 1]."""
        yield from map(self._heard, self._voice.push(block))

    def finish(self) -> Iterator[Heard]:
        """The one that is under way when the sound ends."""
        yield from map(self._heard, self._voice.end())

    def say(self, text: str, speaker: str | None = None) -> Heard | None:
        """Words, and who says them; the last utterance with them where they are its own and it has ended."""
        last = self._last
        is_late = last is not None and self._voice.time_s - last.segment.end_s <= REACH_S
        if last is not None and is_late and not self._voice.is_speaking:
            before = last.segment
            words = f"{before.text} {text}" if before.text else text
            segment = replace(before, text=words, speaker=speaker or before.speaker)
            self._last = replace(last, segment=segment)
            return Heard(self._number - 1, self._last, "revised")
        self._words.append(text)
        self._speaker = speaker or self._speaker
        return None

    def conclude(self, heard: Heard, observed: Observed) -> LivePrediction:
        """The prediction, from what `Predictor.observe` gave of the utterance; a final one is remembered."""
        past = [p.copy() for p in (self._before if heard.kind == "revised" else self._past)]
        if heard.kind == "final":
            self._before = [p.copy() for p in past]
        (prediction,) = self.predictor.conclude([observed], [heard.utterance.segment], self.source, past)
        if heard.kind != "provisional":
            self._past = past
        return LivePrediction(heard.number, heard.kind, prediction)

    def push(self, block: np.ndarray) -> Iterator[LivePrediction]:
        """What a further (n_samples,) at 16 kHz in [-1, 1] gives."""
        yield from self._judged(self.listen(block))

    def end(self) -> Iterator[LivePrediction]:
        """What is left when the sound ends."""
        yield from self._judged(self.finish())

    def _judged(self, heard: Iterator[Heard]) -> Iterator[LivePrediction]:
        for one in heard:
            (observed,) = self.predictor.observe([one.utterance])
            yield self.conclude(one, observed)

    def _heard(self, spoken: Spoken) -> Heard:
        text = " ".join(self._words) or None
        audible = np.abs(spoken.waveform).max(initial=0.0) >= AUDIBLE
        segment = Segment(spoken.start_s, spoken.end_s, self._speaker, text)
        utterance = Utterance(segment, spoken.waveform if audible else None)
        if spoken.ended:
            self._words, self._last, self._number = [], utterance, spoken.number + 1
        return Heard(spoken.number, utterance, "final" if spoken.ended else "provisional")
