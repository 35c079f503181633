"""One checkpoint at work: from what is at hand of an utterance to class probabilities and what they rest on."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy.special import log_softmax, softmax

from emofuse.errors import ConfigError
from emofuse.example import IGNORE, Example, model_inputs, speaker_turns
from emofuse.media.audio import SAMPLE_RATE
from emofuse.network import Inputs
from emofuse.prediction import Moment
from emofuse.predictor.evidence import leave_out, leave_out_words
from emofuse.predictor.inputs import cut, hear, inputs_of, vectors_of, windows
from emofuse.predictor.moments import MOMENT_S, merge_moments, moments_of
from emofuse.predictor.past import Past
from emofuse.protocol.duration import UNCHANGED, DurationTemperature
from emofuse.protocol.feature import pool_without
from emofuse.protocol.fitted import FittedFeature, feature_from_state
from emofuse.recording import Utterance
from emofuse.trained import Trained


@dataclass(frozen=True)
class Judgement:
    """What one part makes of an utterance.

    Attributes:
        probabilities: (n_classes,), calibrated.
        modalities: What was there of what the part can use.
        words: Share of the attention on each of `Utterance.words`; None when it reads none.
        moments: Attention to stretches of the recording; empty when it hears nothing.
        weights: Modality to its share within the part.
    """

    probabilities: np.ndarray
    modalities: tuple[str, ...]
    words: np.ndarray | None = None
    moments: tuple[Moment, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)


Observation = Judgement | dict[str, np.ndarray] | None
"""What is kept of one utterance, see `Part.observe`."""


class Part:
    """One checkpoint, ready to use."""

    def __init__(self, trained: Trained, source: str, temperature: DurationTemperature = UNCHANGED) -> None:
        """Fitted features from what was loaded.

        Args:
            trained: What was trained.
            source: Names it in messages.
            temperature: What its logits are divided by beside its own temperature, by the seconds that it hears.

        Raises:
            ConfigError: Its features cannot be made from a media file, or it does not judge by what it hears of an
                utterance, on which the temperature depends.
        """
        self.network, self.classes = trained.network, trained.classes
        self.level = self.network.level
        self.own_temperature, self.by_duration = trained.temperature, temperature
        self.provenance = trained.provenance
        hears = self.level == "utterance" and "speech" in trained.modalities
        if not (temperature.is_constant or hears):
            raise ConfigError(
                f"{source}: a temperature by duration is for a part that hears single utterances: give one number"
            )
        self.features: dict[str, FittedFeature] = {}
        for modality in trained.modalities:
            meta, arrays = trained.features[modality], trained.feature_arrays.get(modality, {})
            self.features[modality] = feature_from_state(meta, arrays)
        stored = [m for m, f in self.features.items() if f.config.kind == "stored"]
        if stored:
            raise ConfigError(
                f"{source}: {trained.system} was trained on a corpus' stored {', '.join(stored)} features, which "
                "cannot be made from a media file; use `emofuse evaluate` on a corpus, or a model on waveform and words"
            )

    @property
    def title(self) -> str:
        """Its modalities, for reports: ``speech+text``; with a note where it looks back on the conversation."""
        return "+".join(self.features) + (" in context" if self.level == "conversation" else "")

    def temperature(self, seconds: float = math.inf) -> float:
        """What logits of so much speech are divided by; without any speech, as of plenty."""
        return self.own_temperature * float(self.by_duration.at(seconds))

    def _seconds(self, waveform: np.ndarray | None, heard: np.ndarray | None) -> float:
        """How much of a window the network hears: an extractor may leave out its quiet ends."""
        extractor = self.features["speech"].extractor if "speech" in self.features else None
        if heard is not None and extractor is not None and extractor.rate_hz:
            return len(heard) / extractor.rate_hz
        return math.inf if waveform is None else len(waveform) / SAMPLE_RATE

    def observe(self, utterances: Sequence[Utterance]) -> list[Observation]:
        """What to keep of each utterance: its judgement, or the vectors that a contextual system will need of it.

        None where every modality that the part can use is missing. The utterances need not belong together.
        """
        if self.level != "utterance":
            return [vectors_of(self.features, u, hear(self.features, u.waveform)) for u in utterances]
        return [
            self._judge_one(u, [self._judge_window(u, samples, words) for samples, words in windows(self.features, u)])
            for u in utterances
        ]

    def conclude(
        self,
        observed: "Sequence[Observation]",
        speakers: Sequence[str | None] | None = None,
        past: Past | None = None,
    ) -> list[Judgement | None]:
        """Judgements of the utterances of one conversation, from what `observe` gave, in order.

        A contextual system sees the utterances before (one of both directions also those after); those that
        it could not observe are not among them. `speakers` are the utterances', for a system that asks. `past` is
        of the conversation before the first of them, and afterwards of what was before and of them.
        """
        judged = [o if isinstance(o, Judgement) else None for o in observed]
        vectors = {i: o for i, o in enumerate(observed) if isinstance(o, dict)}
        if not vectors:
            return judged
        who = [None if speakers is None else speakers[i] for i in vectors]
        logits, shares = self._in_conversation(list(vectors.values()), who, past)
        for row, (i, there) in enumerate(vectors.items()):
            weights = {m: float(shares[m][row]) if shares else 1 / len(there) for m in there}
            judged[i] = Judgement(softmax(logits[row]), tuple(there), weights=weights)
        return judged

    def _in_conversation(
        self, vectors: Sequence[dict[str, np.ndarray]], who: Sequence[str | None], past: Past | None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Calibrated logits (n, n_classes) of utterances, and modality to its share (n,) if the system has any."""
        n_before = 0
        if past is not None and not self.network.goes_on:
            n_before, before = len(past.window), list(past.window)
            past.window.extend(zip(vectors, who, strict=True))
            vectors, who = [*(v for v, _ in before), *vectors], [*(s for _, s in before), *who]
        carried = past if self.network.goes_on else None
        rows = {m: np.stack([v.get(m, f.absent) for v in vectors]) for m, f in self.features.items()}
        present = {m: np.array([m in v for v in vectors]) for m in self.features}
        heard = {m: None if carried is None else carried.heard.setdefault(m, {}) for m in self.features}
        arrays = {m: f.in_dialogue(rows[m], who, present[m], heard[m]) for m, f in self.features.items()}
        turns = (
            speaker_turns([*(carried.speakers if carried else ()), *who])[-len(who) :] if self.network.turns else None
        )
        inputs = self._inputs(arrays, present, turns)
        outcome = self.network(inputs, None if carried is None else carried.memory)
        logits = outcome.logits[0].astype(np.float64) / self.temperature()
        if carried is not None:
            first = next((s for s in (carried.speakers[0], *who) if s is not None), None)
            carried.speakers = first, who[-1]
        return logits[n_before:], {m: x[0, n_before:] for m, x in outcome.shares.items()}

    def judge(self, utterances: Sequence[Utterance]) -> list[Judgement | None]:
        """Judge the utterances of one conversation; see `conclude`."""
        return self.conclude(self.observe(utterances), [u.segment.speaker for u in utterances])

    def _inputs(
        self,
        arrays: Mapping[str, np.ndarray],
        present: dict[str, np.ndarray] | None = None,
        turns: np.ndarray | None = None,
    ) -> Inputs:
        """A batch of one utterance, or of one conversation."""
        n = len(next(iter(arrays.values()))) if self.level == "conversation" else 1
        if present is not None and all(there.all() for there in present.values()):
            present = None
        return model_inputs([Example(("",) * n, np.full(n, IGNORE), dict(arrays), None, turns, present)], self.level)

    def _judge_one(self, u: Utterance, found: Sequence[Judgement | None]) -> Judgement | None:
        """The judgement of an utterance from those of its windows, which overlap."""
        judged = [j for j in found if j is not None]
        if not judged:
            return None
        words = [j.words for j in judged if j.words is not None]
        total = np.sum(words, axis=0) if words else None
        moments = [m for j in judged for m in j.moments]
        there = tuple(m for m in self.features if any(m in j.modalities for j in judged))
        return Judgement(
            np.mean([j.probabilities for j in judged], axis=0),
            there,
            None if total is None else total / total.sum(),
            merge_moments(moments, u.segment),
            {m: 1 / len(there) for m in there},
        )

    def _judge_window(self, u: Utterance, samples: slice, word_index: np.ndarray) -> Judgement | None:
        """Judge one window on what is there of it; None where nothing is."""
        waveform = cut(u, samples)
        heard = hear(self.features, waveform)
        arrays, token_words = inputs_of(self.features, u, waveform, word_index, heard)
        if not arrays:
            return None
        outcome = self.network(self._inputs(arrays))
        temperature = self.temperature(self._seconds(waveform, heard))
        logits = outcome.logits.reshape(-1).astype(np.float64) / temperature
        # Nobody asks for what stands alone: words then share alike, of the sound nothing is said.
        asked = {m: r[0].astype(np.float64) for m, r in outcome.received.items() if m in arrays and r.any()}
        words = None
        if "text" in arrays:
            by_token = asked.get("text", np.ones(len(token_words)))
            if self.features["text"].config.kind == "wordpieces":  # no word of which is asked for by itself
                decided = self._log_probability("text", int(logits.argmax()), temperature)
                by_token = leave_out_words(arrays["text"], token_words, decided)
            words = np.bincount(token_words, by_token, minlength=len(u.words))
        moments: tuple[Moment, ...] = ()
        if "speech" in asked:
            start_s = u.segment.start_s + samples.start / SAMPLE_RATE
            moments = moments_of(asked["speech"], start_s, (samples.stop - samples.start))
        elif waveform is not None and heard is not None and set(arrays) == {"speech"}:
            extractor = self.features["speech"].extractor
            assert extractor is not None
            first, end = (extractor.span or _all_of)(waveform)
            weights = self._left_out(heard, end - first, int(logits.argmax()), temperature)
            moments = moments_of(weights, u.segment.start_s + (samples.start + first) / SAMPLE_RATE, end - first)
        return Judgement(softmax(logits), tuple(arrays), words, moments)

    def _left_out(self, heard: np.ndarray, n_samples: int, decided: int, temperature: float) -> np.ndarray:
        """(n_stretches,) share of each stretch in the decision, where a model has no attention: see `leave_out`.

        `heard` are the extractor's rows, of `n_samples` of the waveform.
        """
        feature = self.features["speech"]
        n_stretches = max(1, round(n_samples / SAMPLE_RATE / MOMENT_S))
        assert feature.extractor is not None
        if feature.extractor.rate_hz is None:
            return np.full(n_stretches, 1 / n_stretches)

        log_probability = self._log_probability("speech", decided, temperature)

        def of_pooled(versions: list[np.ndarray]) -> np.ndarray:
            return log_probability(feature.transform(versions))

        return leave_out(heard, n_stretches, of_pooled, partial(pool_without, config=feature.config))

    def _log_probability(
        self, modality: str, decided: int, temperature: float
    ) -> Callable[[list[np.ndarray]], np.ndarray]:
        """A function from inputs of one modality to the logarithms of the probability of one class."""

        def of(inputs: list[np.ndarray]) -> np.ndarray:
            examples = [Example(("",), np.array([IGNORE]), {modality: x}) for x in inputs]
            logits = self.network.logits(model_inputs(examples, self.level)).astype(np.float64)
            return log_softmax(logits / temperature, axis=-1)[:, decided]

        return of


def _all_of(waveform: np.ndarray) -> tuple[int, int]:
    return 0, len(waveform)
