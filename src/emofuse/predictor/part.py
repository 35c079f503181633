"""One checkpoint at work: from what is at hand of an utterance to class probabilities and what they rest on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax, softmax

from emofuse.batching import IGNORE, Example, collate, speaker_turns
from emofuse.checkpoint import Checkpoint
from emofuse.errors import ConfigError, DataError
from emofuse.features.extractor import Extractor
from emofuse.media.audio import MIN_SECONDS, SAMPLE_RATE
from emofuse.models import goes_on, system
from emofuse.models.cma import CMA
from emofuse.models.inference import for_inference
from emofuse.models.minilm import MiniLM
from emofuse.models.mman import MMAN, MultiModalFusion
from emofuse.prediction import Moment
from emofuse.predictor.evidence import leave_out, leave_out_words
from emofuse.predictor.moments import MOMENT_S, OVERLAP_S, WINDOW_S, merge_moments, moments_of, window_starts
from emofuse.predictor.past import Past
from emofuse.protocol.feature import pool_rows, speech_array
from emofuse.protocol.fitted import FittedFeature, feature_from_state
from emofuse.recording import Utterance


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

    def __init__(self, checkpoint: Checkpoint, source: str, temperature: float = 1.0) -> None:
        """Fitted features from a loaded checkpoint.

        Args:
            checkpoint: What was trained.
            source: Names it in messages.
            temperature: What its logits are divided by beside its own temperature.
        """
        self.model, self.classes = for_inference(checkpoint.model), checkpoint.classes
        self.level = system(checkpoint.system).level
        self.temperature, self.provenance = checkpoint.temperature * temperature, checkpoint.provenance
        self.turns = getattr(checkpoint.model_config, "turns", False)
        self.goes_on = self.level == "conversation" and goes_on(checkpoint.system, checkpoint.model_config)
        self.features: dict[str, FittedFeature] = {}
        for modality in checkpoint.modalities:
            meta, arrays = checkpoint.features[modality], checkpoint.feature_arrays.get(modality, {})
            self.features[modality] = feature_from_state(meta, arrays)
        stored = [m for m, f in self.features.items() if f.config.kind == "stored"]
        if stored:
            raise ConfigError(
                f"{source}: {checkpoint.system} was trained on a corpus' stored {', '.join(stored)} features, which "
                "cannot be made from a media file; use `emofuse evaluate` on a corpus, or a model on waveform and words"
            )

    @property
    def title(self) -> str:
        """Its modalities, for reports: ``speech+text``; with a note where it looks back on the conversation."""
        return "+".join(self.features) + (" in context" if self.level == "conversation" else "")

    def observe(self, utterances: Sequence[Utterance]) -> list[Observation]:
        """What to keep of each utterance: its judgement, or the vectors that a contextual system will need of it.

        None where every modality that the part can use is missing. The utterances need not belong together.
        """
        if self.level != "utterance":
            heard = self._hear([u.waveform for u in utterances])
            return [self._vector(u, rows) for u, rows in zip(utterances, heard, strict=True)]
        windows = [list(self._windows(u)) for u in utterances]
        clips = [_cut(u, samples) for u, of in zip(utterances, windows, strict=True) for samples, _ in of]
        heard = iter(self._hear(clips))
        return [
            self._judge_one(u, [self._judge_window(u, samples, words, next(heard)) for samples, words in of])
            for u, of in zip(utterances, windows, strict=True)
        ]

    def _hear(self, clips: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
        """The speech extractor's rows of each clip; None where there is no sound, too little, or no such extractor."""
        feature = self.features.get("speech")
        extractor = None if feature is None else feature.extractor
        if extractor is None:
            return [None] * len(clips)
        there = [clip for clip in clips if clip is not None]
        try:
            found = iter(extractor.many(there))
        except DataError:  # one of them is too short for it: the others are not to suffer
            found = iter([_or_none(extractor, clip) for clip in there])
        return [None if clip is None else next(found) for clip in clips]

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
        if past is not None and not self.goes_on:
            n_before, before = len(past.window), list(past.window)
            past.window.extend(zip(vectors, who, strict=True))
            vectors, who = [*(v for v, _ in before), *vectors], [*(s for _, s in before), *who]
        carried = past if self.goes_on else None
        rows = {m: np.stack([v.get(m, f.absent) for v in vectors]) for m, f in self.features.items()}
        present = {m: np.array([m in v for v in vectors]) for m in self.features}
        heard = {m: None if carried is None else carried.heard.setdefault(m, {}) for m in self.features}
        arrays = {m: f.in_dialogue(rows[m], who, present[m], heard[m]) for m, f in self.features.items()}
        turns = speaker_turns([*(carried.speakers if carried else ()), *who])[-len(who) :] if self.turns else None
        inputs = self._collate(arrays, present, turns)
        with torch.inference_mode():
            memory = {} if carried is None else {"memory": carried.memory}
            logits = self.model(**inputs, **memory).double().numpy()[0] / self.temperature
            shares = {m: x[0].numpy() for m, x in self._modality_weights(inputs).items()}
        if carried is not None:
            first = next((s for s in (carried.speakers[0], *who) if s is not None), None)
            carried.speakers = first, who[-1]
        return logits[n_before:], {m: x[n_before:] for m, x in shares.items()}

    def judge(self, utterances: Sequence[Utterance]) -> list[Judgement | None]:
        """Judge the utterances of one conversation; see `conclude`."""
        return self.conclude(self.observe(utterances), [u.segment.speaker for u in utterances])

    def _collate(
        self,
        inputs: Mapping[str, np.ndarray],
        present: dict[str, np.ndarray] | None = None,
        turns: np.ndarray | None = None,
    ) -> dict[str, torch.Tensor]:
        n = len(next(iter(inputs.values()))) if self.level == "conversation" else 1
        if present is not None and all(there.all() for there in present.values()):
            present = None
        example = Example(("",) * n, np.full(n, IGNORE), dict(inputs), present=present, turns=turns)
        return collate([example], self.level).inputs

    def _modality_weights(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Attention by modality of a contextual system that has any; empty otherwise."""
        model = self.model.parts["clstm-mma"] if isinstance(self.model, MMAN) else self.model
        if not isinstance(model, MultiModalFusion):
            return {}
        return model.modality_weights(**{m: x for m, x in inputs.items() if m != "lengths"})

    def _vector(self, u: Utterance, heard: np.ndarray | None) -> dict[str, np.ndarray] | None:
        """Modality to the one vector of an utterance that a contextual system sees; None where there is none."""
        arrays: dict[str, np.ndarray] = {}
        for modality, feature in self.features.items():
            if feature.vectors is not None:
                rows, _ = feature.vectors.encode_words(u.words)
                raw = rows[: feature.config.max_words] if len(rows) else None
            else:
                raw = _extracted(feature, u, heard)
            if raw is not None:
                arrays[modality] = feature.transform([raw])[0]
        return arrays or None

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

    def _windows(self, u: Utterance) -> Iterator[tuple[slice, np.ndarray]]:
        """Samples and word indices of each window that the model sees at once."""
        every_word = np.arange(len(u.words))
        heard = u.waveform is not None and len(u.waveform) >= MIN_SECONDS * SAMPLE_RATE
        if "speech" not in self.features or not heard:
            for index in self._text_windows(u.words) or [every_word]:
                yield slice(0, 0), index
            return
        assert u.waveform is not None
        n_samples = len(u.waveform)
        window = round(min(self.features["speech"].config.max_s, WINDOW_S) * SAMPLE_RATE)
        middles = np.minimum(_word_middles(u) * SAMPLE_RATE, n_samples)
        for start in window_starts(n_samples, window, round(OVERLAP_S * SAMPLE_RATE)):
            stop = min(start + window, n_samples)
            yield slice(start, stop), every_word[(start <= middles) & (middles <= stop)]

    def _text_windows(self, words: Sequence[str]) -> list[np.ndarray]:
        """Indices of the words of each window of at most `max_words` tokens; none where the part reads no words."""
        feature = self.features.get("text")
        if feature is None or feature.vectors is None:
            return []
        most = feature.config.max_words
        n_tokens = np.cumsum([len(feature.vectors.encode(word, most)) for word in words])
        found, start, before = [], 0, 0
        while start < len(words):
            end = max(int(np.searchsorted(n_tokens, before + most, side="right")), start + 1)
            found.append(np.arange(start, end))
            start, before = end, int(n_tokens[end - 1])
        return found

    def _judge_window(
        self, u: Utterance, samples: slice, word_index: np.ndarray, heard: np.ndarray | None
    ) -> Judgement | None:
        """Judge one window on what is there of it, `heard` if speech is extracted; None where nothing is."""
        arrays: dict[str, np.ndarray] = {}
        token_words = np.zeros(0, int)
        waveform = _cut(u, samples)
        for modality, feature in self.features.items():
            if feature.extractor is not None:
                raw = _extracted(feature, u, heard)
            elif modality == "speech":
                raw = None if waveform is None else speech_array(waveform, feature.config)
            elif modality == "visual":
                raw = u.faces
            else:
                assert feature.vectors is not None
                rows, index = feature.vectors.encode_words([u.words[i] for i in word_index])
                token_words = word_index[index[: feature.config.max_words]]
                # Where not one word is known, as in another language, there is no evidence at all.
                raw = rows[: feature.config.max_words] if len(rows) else None
            if raw is not None:
                arrays[modality] = feature.transform([raw])[0]
        if not arrays:
            return None
        inputs = self._collate(arrays)
        with torch.inference_mode():
            logits = self.model(**inputs).double().numpy().reshape(-1) / self.temperature
            received = self.model.attention_received(**inputs) if isinstance(self.model, CMA) else {}
        # Nobody asks for what stands alone: words then share alike, of the sound nothing is said.
        asked = {m: r[0].double().numpy() for m, r in received.items() if m in arrays and bool(r.any())}
        words = None
        if "text" in arrays:
            by_token = asked.get("text", np.ones(len(token_words)))
            if isinstance(self.model, MiniLM):
                decided = self._log_probability("text", int(logits.argmax()))
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
            weights = self._left_out(heard, end - first, int(logits.argmax()))
            moments = moments_of(weights, u.segment.start_s + (samples.start + first) / SAMPLE_RATE, end - first)
        return Judgement(softmax(logits), tuple(arrays), words, moments)

    def _left_out(self, heard: np.ndarray, n_samples: int, decided: int) -> np.ndarray:
        """(n_stretches,) share of each stretch in the decision, where a model has no attention: see `leave_out`.

        `heard` are the extractor's rows, of `n_samples` of the waveform.
        """
        feature = self.features["speech"]
        n_stretches = max(1, round(n_samples / SAMPLE_RATE / MOMENT_S))
        assert feature.extractor is not None
        if feature.extractor.rate_hz is None:
            return np.full(n_stretches, 1 / n_stretches)

        log_probability = self._log_probability("speech", decided)

        def of_rows(versions: list[np.ndarray]) -> np.ndarray:
            return log_probability(feature.transform([pool_rows(rows, feature.config) for rows in versions]))

        return leave_out(heard, n_stretches, of_rows)

    def _log_probability(self, modality: str, decided: int) -> Callable[[list[np.ndarray]], np.ndarray]:
        """A function from inputs of one modality to the logarithms of the probability of one class."""

        def of(inputs: list[np.ndarray]) -> np.ndarray:
            examples = [Example(("",), np.array([IGNORE]), {modality: x}) for x in inputs]
            with torch.inference_mode():
                logits = self.model(**collate(examples, self.level).inputs).double().numpy()
            return log_softmax(logits / self.temperature, axis=-1)[:, decided]

        return of


def _extracted(feature: FittedFeature, u: Utterance, heard: np.ndarray | None) -> np.ndarray | None:
    """An extracted feature of an utterance as the model takes it; None where there is nothing to extract it from."""
    extractor = feature.extractor
    assert extractor is not None
    if extractor.modality == "speech":
        return None if heard is None else pool_rows(heard, feature.config)
    x = u.segment.text if extractor.modality == "text" else u.frames and u.frames(extractor.frame_rate or 5.0)
    if x is None or (extractor.modality == "text" and not u.words):
        return None
    rows = _or_none(extractor, x)
    return None if rows is None else pool_rows(rows, feature.config)


def _or_none(extractor: Extractor, x: Any) -> np.ndarray | None:
    """Features of an utterance; None where it is too short for it, or has no face in the picture."""
    try:
        return extractor(x)
    except DataError:
        return None


def _cut(u: Utterance, samples: slice) -> np.ndarray | None:
    """The sound of a window; None without any."""
    return None if u.waveform is None or samples.stop == 0 else u.waveform[samples]


def _all_of(waveform: np.ndarray) -> tuple[int, int]:
    return 0, len(waveform)


def _word_middles(u: Utterance) -> np.ndarray:
    """(n_words,) seconds from the utterance's start; spread evenly where the times are not known."""
    length = u.segment.end_s - u.segment.start_s
    if u.timed_words:
        # A word that was heard in the pause before or after belongs to the first or last window.
        middles = np.array([(w.start_s + w.end_s) / 2 - u.segment.start_s for w in u.timed_words])
        return np.clip(middles, 0, length)
    n = len(u.words)
    return (np.arange(n) + 0.5) / max(n, 1) * length
