"""What fusion brings, or costs, on speech, words and faces of different people that are paired by label.

    python benchmarks/paired_fusion.py --speech emodb+ravdess DATA --words DATA/goemotions --faces DATA/ferplus

No corpus at hand has labelled recordings with all three. So each clip of speakers that the model has not been trained
on gets a comment and a face of its own test parts that bear the same label, drawn at random: given the label they
are then independent, as the fusion takes them to be, which real voices, faces and words are not. What fusion gains
here is therefore an upper bound. A modality that is noise is drawn whatever its label. Parts and fusion are
those of the model, at work as in `predict`; intervals resample the speakers of the clips.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from emofuse.corpora import load_corpus
from emofuse.corpora.utterance import Utterance as CorpusUtterance
from emofuse.labels import label_set
from emofuse.media.audio import SAMPLE_RATE, read_audio
from emofuse.media.image import read_face
from emofuse.media.segment import Segment
from emofuse.predictor import Predictor, Utterance, load
from emofuse.predictor.part import Judgement
from emofuse.protocol.evaluate import unseen
from emofuse.protocol.metrics import compute_metrics
from emofuse.protocol.splits import labelled
from emofuse.protocol.statistics import bootstrap_ci

CLASSES = label_set("emotions4")
TITLES = {"speech": "speech", "visual": "face", "text": "words"}

ROWS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("speech",), ()),
    (("visual",), ()),
    (("text",), ()),
    (("speech", "visual"), ()),
    (("speech", "text"), ()),
    (("visual", "text"), ()),
    (("speech", "visual", "text"), ()),
    (("speech", "visual"), ("visual",)),
    (("speech", "text"), ("text",)),
    (("speech", "visual", "text"), ("speech",)),
    (("speech", "visual", "text"), ("visual",)),
    (("speech", "visual", "text"), ("text",)),
    (("speech", "visual", "text"), ("visual", "text")),
)
"""Which modalities there are, and which of these are noise."""


def main() -> None:
    """Print Markdown, a row a set of modalities."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--speech", nargs=2, required=True, metavar=("CORPUS", "DATA"))
    parser.add_argument("--words", type=Path, required=True, metavar="DATA")
    parser.add_argument("--faces", type=Path, required=True, metavar="DATA")
    parser.add_argument("--draws", type=int, default=5, help="comments and faces that each clip gets, one at a time")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    predictor, rng = load(options.model), np.random.default_rng(options.seed)
    clips = _fresh(predictor, "speech", *options.speech)
    others = {
        "visual": _fresh(predictor, "visual", "ferplus", options.faces),
        "text": _fresh(predictor, "text", "goemotions", options.words),
    }
    n = len(clips)
    y_true = np.tile([_class(u) for u in clips], options.draws)
    fitting = {"speech": np.tile(np.arange(n), options.draws)}
    fitting |= {m: _same_label(pool, y_true, rng) for m, pool in others.items()}
    sources = {"speech": clips} | others
    anything = {m: rng.integers(len(pool), size=len(y_true)) for m, pool in sources.items()}
    said = {m: Said(predictor, m, pool) for m, pool in sources.items()}
    groups = [str(clips[i].speaker) for i in fitting["speech"]]
    print(f"{n} clips of {len(set(groups))} speakers, {options.draws} draws of words and faces each\n")
    print("| what there is | UA % | WA % | ECE % |\n|---|---|---|---|")
    for there, noise in ROWS:
        chosen = {m: anything[m] if m in noise else fitting[m] for m in there}
        y_prob = fused(predictor, {m: said[m].many(rows) for m, rows in chosen.items()})
        print(row(there, noise, groups, y_true, y_prob))


def row(there: Sequence[str], noise: Sequence[str], groups: list[str], y_true: np.ndarray, y_prob: np.ndarray) -> str:
    """One line of the table."""
    values = compute_metrics(y_true, y_prob)
    cells = []
    for metric in ("ua", "wa"):
        low, high = bootstrap_ci(groups, y_true, y_prob, metric)
        cells.append(f"{100 * values[metric]:.1f} [{100 * low:.1f}, {100 * high:.1f}]")
    name = ", ".join(f"{TITLES[m]} (noise)" if m in noise else TITLES[m] for m in there)
    return f"| {name} | {' | '.join(cells)} | {100 * values['ece']:.1f} |"


def fused(predictor: Predictor, observed: Mapping[str, Sequence[object]]) -> np.ndarray:
    """(n, n_classes): what the model makes of what its parts say, a part a modality; the others are missing."""
    n = len(next(iter(observed.values())))
    columns = [observed.get(part.title, [None] * n) for part in predictor.parts]
    segments = [Segment(0.0, 1.0)] * n
    found = predictor.conclude([tuple(o) for o in zip(*columns, strict=True)], segments, "paired")
    uniform = np.full(len(CLASSES.classes), 1 / len(CLASSES.classes))
    rows = [uniform if p is None else np.array(list(p.probabilities.values())) for p in found]
    return np.stack([p / p.sum() for p in rows])


class Said:
    """What one part says of a corpus' utterances, each asked once."""

    def __init__(self, predictor: Predictor, modality: str, utterances: Sequence[CorpusUtterance]) -> None:
        """Nothing is asked yet."""
        (self._part,) = [p for p in predictor.parts if p.title == modality]
        self._given, self._utterances = GIVEN[modality], utterances
        self._known: dict[int, object] = {}

    def many(self, indices: np.ndarray) -> list[object]:
        """Its observations of these utterances; None where it can use nothing of one."""
        for i in sorted(set(indices.tolist()) - set(self._known)):
            (said,) = self._part.observe([self._given(self._utterances[i])])
            # On which words it rests is not asked here, and they are not the clip's.
            self._known[i] = replace(said, words=None) if isinstance(said, Judgement) else said
        return [self._known[i] for i in indices.tolist()]


def _heard(u: CorpusUtterance) -> Utterance:
    assert u.audio is not None
    waveform = read_audio(u.audio, u.media_start_s, u.media_end_s)
    return Utterance(Segment(0.0, len(waveform) / SAMPLE_RATE), waveform)


def _seen(u: CorpusUtterance) -> Utterance:
    assert u.image is not None
    return Utterance(Segment(0.0, 1.0), None, read_face(u.image, u.tile)[None])


def _read(u: CorpusUtterance) -> Utterance:
    return Utterance(Segment(0.0, 1.0, None, u.text), None)


GIVEN: dict[str, Callable[[CorpusUtterance], Utterance]] = {"speech": _heard, "visual": _seen, "text": _read}


def _class(u: CorpusUtterance) -> int:
    found = CLASSES.class_index(u.label, u.original_label)
    assert found is not None
    return found


def _fresh(predictor: Predictor, modality: str, name: str, folder: Path | str) -> list[CorpusUtterance]:
    """What of a corpus the modality's part was neither trained on nor selected by."""
    corpus = load_corpus(name, Path(folder))
    provenances = [part.provenance for part in predictor.parts if part.title == modality]
    if name == "goemotions":  # trained on with another corpus, by the parts that both publish
        return [u for u in labelled(corpus.utterances, CLASSES) if u.split == "test"]
    fresh = unseen(provenances, corpus)
    return [u for u in labelled(corpus.utterances, CLASSES) if u.id in fresh]


def _same_label(utterances: Sequence[CorpusUtterance], y_true: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each label an utterance that bears it, at random."""
    labels = np.array([_class(u) for u in utterances])
    return np.array([rng.choice(np.flatnonzero(labels == y)) for y in y_true])


if __name__ == "__main__":
    main()
