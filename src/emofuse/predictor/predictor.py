"""The predictor: what the parts see in each utterance, what they conclude of the conversation, as a timeline."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.errors import ConfigError, DataError
from emofuse.media.audio import SAMPLE_RATE
from emofuse.media.segment import Segment
from emofuse.media.sound import ArraySound, as_mono
from emofuse.prediction import Prediction, Timeline
from emofuse.predictor.evidence import word_evidence
from emofuse.predictor.fusing import fuse
from emofuse.predictor.grouping import groups, seconds
from emofuse.predictor.part import Judgement, Part
from emofuse.predictor.past import Past
from emofuse.protocol.pool import Reliability
from emofuse.recording import FaceFinder, Progress, Recording, Sources, Utterance, find_recording, open_recording
from emofuse.threads import available, in_threads, one_blas_thread

MODALITIES = ("speech", "visual", "text")

UNSURE = 0.5
"""A prediction whose label is less probable than this is marked unsure."""

Observed = tuple[Any, ...]
"""What the parts keep of one utterance, one each."""


class Predictor:
    """Predicts emotions in media files with one or more checkpoints."""

    def __init__(
        self,
        parts: Sequence[Part],
        reliabilities: Sequence[Reliability] | None = None,
        threshold: float = UNSURE,
        n_threads: int | None = None,
    ) -> None:
        """The parts that have any of their modalities are pooled; one that is alone decides alone.

        Args:
            parts: Each a checkpoint.
            reliabilities: How far each part is believed, in [0, 1], see `emofuse.protocol.pool`; None: fully.
            threshold: A prediction whose label is less probable than this is marked unsure.
            n_threads: Threads among which utterances are divided; None: all that the process may use, see
                `emofuse.threads.available`.

        Raises:
            ConfigError: The parts do not share their classes, or a reliability is out of range.
        """
        reliabilities = [1.0] * len(parts) if reliabilities is None else reliabilities
        for part, r in zip(parts, reliabilities, strict=True):
            if np.shape(r) not in ((), (len(part.classes),)) or not np.all((np.asarray(r) >= 0) & (np.asarray(r) <= 1)):
                raise ConfigError(f"{part.title}: reliability is {r}, need 0 to 1, or that for each class")
        if len({part.classes for part in parts}) != 1:
            raise ConfigError(f"parts with different classes cannot be fused: {[list(p.classes) for p in parts]}")
        self.parts, self.reliabilities, self.threshold = tuple(parts), tuple(reliabilities), threshold
        self.n_threads = n_threads
        self.classes = parts[0].classes
        self.modalities = tuple(m for m in MODALITIES if any(m in p.features for p in parts))

    def predict(
        self,
        media: str | Path | np.ndarray,
        text: str | None = None,
        *,
        sources: Sources | None = None,
        sample_rate: int = SAMPLE_RATE,
        faces: FaceFinder | None = None,
        on_progress: Progress | None = None,
    ) -> Timeline:
        """The utterances of a recording and what was felt in each.

        Args:
            media: A file; or a waveform (n_samples,) or (n_samples, n_channels), float in [-1, 1].
            text: The words of the whole recording, which is then one utterance.
            sources: What else is known of utterances and words; without it voice activity finds them.
            sample_rate: Of a waveform, samples a second.
            faces: How faces are found in a video; None: the default way.
            on_progress: Called now and then.

        Raises:
            DataError: The file cannot be read, or holds nothing that the model can use; the message says why.
        """
        sources = sources or Sources()
        if text is not None:
            sources = replace(sources, text=text)
        if sources.text is not None and not sources.text.strip():
            raise DataError(f"{_name(media)}: the text is empty, give the words that were said or leave it out")
        if isinstance(media, np.ndarray):
            sound = ArraySound(as_mono(media, sample_rate))
            found = find_recording("array", sound, sound.duration_s, sources, tell=on_progress)
            return self.timeline(found, on_progress)
        finder = (faces or FaceFinder()) if "visual" in self.modalities else None
        with open_recording(Path(media), sources, finder, self.modalities, on_progress) as found:
            return self.timeline(found, on_progress)

    def predict_many(self, media: Iterable[str | Path], **settings: Any) -> Iterator[Timeline]:
        """`predict` file by file, with the same settings."""
        for path in media:
            yield self.predict(path, **settings)

    def predict_array(
        self, waveform: np.ndarray | None, text: str | None = None, source: str = "array", speaker: str | None = None
    ) -> Prediction:
        """Predict one utterance.

        Args:
            waveform: (n_samples,) float in [-1, 1], mono at 16 kHz; None when there is no sound.
            text: Its words, if known.
            source: What to call it.
            speaker: Who speaks, if known.

        Raises:
            DataError: Nothing that the model can use is there, or the text is empty.
        """
        if text is not None and not text.strip():
            raise DataError(f"{source}: the text is empty, give the words that were said or leave it out")
        end_s = 0.0 if waveform is None else len(waveform) / SAMPLE_RATE
        utterance = Utterance(Segment(0.0, end_s, speaker, text), waveform)
        (prediction,) = self.judge([utterance], source)
        if prediction is None:
            raise DataError(self._nothing(source, [utterance]))
        return prediction

    def judge(
        self, utterances: Iterable[Utterance], source: str, on_judged: Callable[[int], None] | None = None
    ) -> list[Prediction | None]:
        """Predictions of the utterances of one conversation in order; None where the model can use nothing of one.

        They are taken a few at a time, so that those of a long recording need not be in memory together. `on_judged`
        is called with how many are done.
        """
        segments: list[Segment] = []
        observed: list[Observed] = []
        for group in groups(utterances):
            observed += self.observe(group)
            segments += [u.segment for u in group]
            if on_judged is not None:
                on_judged(len(observed))
        return self.conclude(observed, segments, source)

    def observe(self, utterances: Sequence[Utterance]) -> list[Observed]:
        """What each part keeps of each utterance, whichever conversations they belong to; see `Part.observe`.

        They are divided among threads, long and short ones alike.
        """
        n_threads = min(available() if self.n_threads is None else self.n_threads, len(utterances))
        if n_threads < 2:
            with one_blas_thread():
                return self._observe(utterances)
        order = sorted(range(len(utterances)), key=lambda i: seconds(utterances[i]))
        shares = [order[first::n_threads] for first in range(n_threads)]
        with one_blas_thread():
            done = in_threads(self._observe, [[utterances[i] for i in share] for share in shares])
        found = {i: one for share, of in zip(shares, done, strict=True) for i, one in zip(share, of, strict=True)}
        return [found[i] for i in range(len(utterances))]

    def _observe(self, utterances: Sequence[Utterance]) -> list[Observed]:
        return list(zip(*[part.observe(utterances) for part in self.parts], strict=True))

    def conclude(
        self,
        observed: Sequence[Observed],
        segments: Sequence[Segment],
        source: str,
        past: Sequence[Past] | None = None,
    ) -> list[Prediction | None]:
        """Predictions of the utterances of one conversation, from what `observe` gave, in order of time.

        `past`, one a part, is of the conversation before them; see `Part.conclude`.
        """
        speakers = [segment.speaker for segment in segments]
        pasts = [None] * len(self.parts) if past is None else past
        judged = [
            part.conclude([o[i] for o in observed], speakers, before)
            for i, (part, before) in enumerate(zip(self.parts, pasts, strict=True))
        ]
        rows = zip(*judged, strict=True)
        return [self._pool(Utterance(segment), row, source) for segment, row in zip(segments, rows, strict=True)]

    def _pool(self, u: Utterance, judged: Sequence[Judgement | None], source: str) -> Prediction | None:
        """What the parts say of one utterance, taken together."""
        rows = [(p, r, j) for p, r, j in zip(self.parts, self.reliabilities, judged, strict=True) if j is not None]
        if not rows:
            return None
        probabilities, weights = fuse([j for _, _, j in rows], [r for _, r, _ in rows])
        used = [m for m in self.modalities if m in weights]
        confidence = round(float(probabilities.max()), 4)
        segment = u.segment
        return Prediction(
            source,
            round(segment.start_s, 3),
            round(segment.end_s, 3),
            segment.speaker,
            segment.text,
            self.classes[int(probabilities.argmax())],
            self._named(probabilities),
            tuple(used),
            tuple(m for m in self.modalities if m not in weights),
            confidence,
            confidence < self.threshold,
            {m: round(weights[m], 4) for m in used},
            {part.title: self._named(j.probabilities) for part, _, j in rows},
            word_evidence(u, [j for _, _, j in rows]),
            next((j.moments for _, _, j in rows if j.moments), ()),
        )

    def _named(self, probabilities: np.ndarray) -> dict[str, float]:
        return {c: round(float(p), 4) for c, p in zip(self.classes, probabilities, strict=True)}

    def _nothing(self, source: str, utterances: Sequence[Utterance], has_sound: bool = False) -> str:
        """Why not one utterance could be judged; where there is sound, but none in the utterances, it is silent."""
        needs = " or ".join(self.modalities)
        text = any(u.segment.text for u in utterances)
        there = [("speech", any(u.waveform is not None for u in utterances)), ("text", text)]
        given = [m for m, found in there if found]
        hint = " without a word that it knows" if text and "text" in needs else ""
        nothing = "nothing but silence" if has_sound else "nothing"
        return f"{source}: the model needs {needs}, found {' and '.join(given) or nothing}{hint}"

    def timeline(self, recording: Recording, on_progress: Progress | None = None) -> Timeline:
        """What was felt in the utterances of a recording.

        Raises:
            DataError: There are utterances, but nothing in them that the model can use.
        """
        last: list[Utterance] = []

        def utterances() -> Iterator[Utterance]:
            for u in recording.utterances():
                last[:] = [u]
                yield u

        def on_judged(n: int) -> None:
            if on_progress is not None:
                on_progress("predicting", n / len(recording.segments))

        return self.summarise(recording, self.judge(utterances(), recording.source, on_judged), last)

    def summarise(
        self, recording: Recording, predictions: Sequence[Prediction | None], seen: Sequence[Utterance]
    ) -> Timeline:
        """The timeline of a recording whose utterances have been judged.

        Args:
            recording: The utterances' recording.
            predictions: What `judge` gave, one a segment.
            seen: Some of the utterances, by which to say what there was where nothing could be used.

        Raises:
            DataError: There are utterances, but nothing in them that the model can use.
        """
        if recording.segments and not any(predictions):
            raise DataError(self._nothing(recording.source, seen, recording.sound is not None))
        problems = list(recording.problems)
        kept = [p for p in predictions if p is not None]
        if n := len(predictions) - len(kept):
            problems.append(f"{n} of {len(predictions)} utterances have nothing that the model can use, left out")
        if not recording.voiced:
            kept = [replace(p, unsure=True) for p in kept]
        return Timeline(recording.source, recording.duration_s, tuple(kept), tuple(problems))


def _name(media: str | Path | np.ndarray) -> str:
    return "array" if isinstance(media, np.ndarray) else str(media)
