"""How right and how sure a speech part is of short utterances, and the temperature by duration that makes it honest.

    python benchmarks/short_utterances.py --on M-EMODB ravdess DATA/ravdess --on M-RAVDESS emodb DATA/emodb

Each ``--on`` names a model of speech, a corpus of which it has not been trained on all, and the corpus' folder. Of
each utterance the middle so many seconds of what is loud are judged; of a shorter one all of it. A temperature by
duration is fitted on each ``--on``, all durations together. Where there are several, that under "the others'" was not
fitted on the row's own data. The last line is the mean of the fits (of logarithms), in the form of ``fusion.json``.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emofuse.corpora import load_corpus
from emofuse.features.whisper_lower import loud_span
from emofuse.labels import label_set
from emofuse.media.audio import SAMPLE_RATE, read_audio
from emofuse.media.segment import Segment
from emofuse.predictor import Part, Utterance, load
from emofuse.protocol.calibration import tempered
from emofuse.protocol.duration import UNCHANGED, DurationTemperature, fit_duration_temperature
from emofuse.protocol.evaluate import unseen
from emofuse.protocol.metrics import compute_metrics
from emofuse.protocol.splits import labelled

WHOLE_S = 10.0
"""A cut of so much is the whole utterance: what `predict` looks at once."""


@dataclass(frozen=True)
class Judged:
    """One model on one corpus, at every duration: probabilities (n_cuts, n, n_classes), their labels (n,)."""

    name: str
    probabilities: np.ndarray
    y_true: np.ndarray
    heard_s: np.ndarray  # (n_cuts, n)

    def fit(self, knots: Sequence[float]) -> DurationTemperature:
        """The temperature by duration that is likeliest here."""
        n_cuts, n, n_classes = self.probabilities.shape
        logits = np.log(np.maximum(self.probabilities, 1e-12)).reshape(n_cuts * n, n_classes)
        return fit_duration_temperature(logits, np.tile(self.y_true, n_cuts), self.heard_s.ravel(), knots)

    def loss(self, temperature: DurationTemperature) -> float:
        """Mean negative logarithm of the right class' probability, all durations together, classes alike."""
        said = tempered(self.probabilities, temperature.at(self.heard_s)[..., None])
        right = -np.log(said[:, np.arange(len(self.y_true)), self.y_true])
        return float(np.mean([right[:, self.y_true == y].mean() for y in np.unique(self.y_true)]))

    def scores(self, cut: int, temperature: DurationTemperature) -> dict[str, float]:
        """Percentages of one duration."""
        at = temperature.at(self.heard_s[cut])[:, None]
        said = tempered(self.probabilities[cut], at)
        found = compute_metrics(self.y_true, said) | {"sure": float(said.max(axis=1).mean())}
        return {name: 100 * value for name, value in found.items()}


def judge(model: str, name: str, folder: Path, seconds: Sequence[float]) -> Judged:
    """A model's speech part on what of a corpus it has not been trained on."""
    (part,) = [p for p in load(model).parts if p.title == "speech"]
    corpus, classes = load_corpus(name, folder), label_set("emotions4")
    fresh = unseen([part.provenance], corpus)
    chosen = [u for u in labelled(corpus.utterances, classes) if u.id in fresh]
    probabilities, heard_s = [], []
    for u in chosen:
        assert u.audio is not None
        waveform = read_audio(u.audio, u.media_start_s, u.media_end_s)
        start, end = loud_span(waveform)
        clips = [_middle(waveform[start:end], s) for s in seconds]
        probabilities.append(_said(part, clips))
        heard_s.append([len(clip) / SAMPLE_RATE for clip in clips])
    y_true = np.array([classes.class_index(u.label, u.original_label) for u in chosen])
    return Judged(f"{model} on {name}", np.stack(probabilities, axis=1), y_true, np.array(heard_s).T)


def _middle(waveform: np.ndarray, seconds: float) -> np.ndarray:
    n_samples = round(seconds * SAMPLE_RATE)
    start = max(0, (len(waveform) - n_samples) // 2)
    return waveform[start : start + n_samples]


def _said(part: Part, clips: Sequence[np.ndarray]) -> np.ndarray:
    found = part.judge([Utterance(Segment(0.0, len(clip) / SAMPLE_RATE), clip) for clip in clips])
    return np.stack([j.probabilities for j in found if j is not None])


def main() -> None:
    """Print Markdown, a row a model and duration; and the fits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", nargs=3, action="append", required=True, metavar=("MODEL", "CORPUS", "DATA"))
    parser.add_argument("--seconds", nargs="+", type=float, default=[0.4, 0.6, 0.8, 1.0, 1.5, 2.0])
    parser.add_argument("--knots", nargs="+", type=float, default=[0.4, 1.2], help="where the temperature may bend")
    options = parser.parse_args()
    seconds = [*options.seconds, WHOLE_S]
    judged = [judge(model, corpus, Path(data), seconds) for model, corpus, data in options.on]
    fits = [one.fit(options.knots) for one in judged]
    print(
        "| model, data | seconds | n | WA % | UA % | sure %, ECE % | after the others' temperature: sure %, ECE % "
        "| after the mean: sure %, ECE % |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for i, one in enumerate(judged):
        others = [fit for j, fit in enumerate(fits) if j != i]
        for cut, length in enumerate(seconds):
            found = one.scores(cut, UNCHANGED)
            tried = [UNCHANGED, mean_of(others or fits), mean_of(fits)]
            told = [f"{x['sure']:.1f}, {x['ece']:.1f}" for x in (one.scores(cut, t) for t in tried)]
            shown = "whole" if length == WHOLE_S else f"{length:g}"
            cells = [one.name, shown, len(one.y_true), f"{found['wa']:.1f}", f"{found['ua']:.1f}", *told]
            print(f"| {' | '.join(map(str, cells))} |")
    constant = [one.fit([1.0]) for one in judged]
    for i, (one, fit) in enumerate(zip(judged, fits, strict=True)):
        print(f"fitted on {one.name}: {json.dumps(as_json(fit))}")
        for name, tried in (("by duration", fits), ("one number", constant)) if len(fits) > 1 else ():
            loss = one.loss(mean_of([t for j, t in enumerate(tried) if j != i]))
            print(f"  the others' temperature, {name}: loss {loss:.3f}")
    print(f"mean of the fits: {json.dumps(as_json(mean_of(fits)))}")


def mean_of(fits: Sequence[DurationTemperature]) -> DurationTemperature:
    """The geometric mean, knot by knot."""
    logs = np.log([fit.temperatures for fit in fits]).mean(axis=0)
    return DurationTemperature(fits[0].seconds, tuple(np.exp(logs).tolist()))


def as_json(temperature: DurationTemperature) -> dict[str, float]:
    """As ``fusion.json`` has it."""
    return {f"{s:g}": round(t, 2) for s, t in zip(temperature.seconds, temperature.temperatures, strict=True)}


if __name__ == "__main__":
    main()
