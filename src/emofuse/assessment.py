"""Score a whole model, as `predict` runs it, on a corpus: sound, faces and words of each utterance together."""

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from emofuse.corpora.utterance import Corpus
from emofuse.corpora.utterance import Utterance as CorpusUtterance
from emofuse.errors import ConfigError, DataError
from emofuse.labels import label_set
from emofuse.media.audio import SAMPLE_RATE, read_audio
from emofuse.media.image import read_face
from emofuse.media.segment import Segment
from emofuse.media.video import probe
from emofuse.prediction import Prediction
from emofuse.predictor import FaceFinder, Predictor, Utterance
from emofuse.progress import progress
from emofuse.protocol.evaluate import summarise, unseen
from emofuse.protocol.splits import labelled

LABELS = "emotions4"
"""How the labels of any corpus become those of the model that ships: calm is neutral, excited happy, ..."""


def assess(
    predictor: Predictor, corpus: Corpus, without: Collection[str] = (), finder: FaceFinder | None = None
) -> dict[str, Any]:
    """Metrics of the fused decision as `summarise` gives them, and under ``parts`` those of each part alone.

    What a part was trained on, or was selected by, is left out: see `unseen`.

    Args:
        predictor: The model.
        corpus: Its utterances have media files, pictures of faces or words.
        without: Modalities that are withheld.
        finder: How faces are found in videos; None: the default way.

    Raises:
        ConfigError: The model has other classes than `LABELS`, or see `unseen`.
        DataError: Nothing of the corpus can be judged, or a file cannot be read.
    """
    classes = label_set(LABELS)
    if classes.classes != predictor.classes:
        raise ConfigError(
            f"a model of {list(predictor.classes)}: as a whole, only one of {list(classes.classes)} can be scored"
        )
    fresh = unseen([part.provenance for part in predictor.parts], corpus)
    chosen = [u for u in labelled(corpus.utterances, classes) if u.id in fresh]
    judged = [(u, p) for u, p in _judge(predictor, corpus.name, chosen, without, finder) if p is not None]
    if not judged:
        raise DataError(f"{corpus.name}: of {len(chosen)} utterances the model can use none")

    def score(rows: Sequence[tuple[CorpusUtterance, dict[str, float]]]) -> dict[str, Any]:
        y_true = [classes.class_index(u.label, u.original_label) or 0 for u, _ in rows]
        y_prob = [np.array(list(p.values())) for _, p in rows]
        return summarise([u for u, _ in rows], y_true, [p / p.sum() for p in y_prob], "speaker", classes.classes)

    titles = [t for t in (part.title for part in predictor.parts) if any(t in p.by_modality for _, p in judged)]
    alone = {t: score([(u, p.by_modality[t]) for u, p in judged if t in p.by_modality]) for t in titles}
    fused = score([(u, p.probabilities) for u, p in judged])
    return fused | {"corpus": corpus.name, "n_without_evidence": len(chosen) - len(judged), "parts": alone}


def _judge(
    predictor: Predictor,
    source: str,
    utterances: Sequence[CorpusUtterance],
    without: Collection[str],
    finder: FaceFinder | None,
) -> Iterator[tuple[CorpusUtterance, Prediction | None]]:
    """Utterances with their predictions, one conversation after the other."""
    dialogues: dict[str, list[CorpusUtterance]] = {}
    for u in utterances:
        dialogues.setdefault(u.dialogue or u.id, []).append(u)
    finder = finder or FaceFinder()
    with progress(transient=True) as bar:
        task = bar.add_task("predicting", total=len(utterances))
        for group in dialogues.values():
            ordered = sorted(group, key=lambda u: u.index)
            predictions = predictor.judge((_given(u, without, finder) for u in ordered), source)
            yield from zip(ordered, predictions, strict=True)
            bar.advance(task, len(group))


def _given(u: CorpusUtterance, without: Collection[str], finder: FaceFinder) -> Utterance:
    """What a recording of the utterance would give `predict`, less the modalities that are withheld."""
    sound = u.audio or (u.video if u.video is not None and probe(u.video).has_audio else None)
    waveform = None if sound is None else read_audio(sound, u.media_start_s, u.media_end_s)
    length_s = len(waveform) / SAMPLE_RATE if waveform is not None else (u.end_s or 0) - (u.start_s or 0)
    faces, frames = None, None
    if "visual" not in without and u.image is not None:
        faces = read_face(u.image, u.tile)[None]
    elif "visual" not in without and u.video is not None:
        start_s = u.video_start_s if u.video_start_s is not None else (u.media_start_s or 0.0)
        end_s = u.video_end_s if u.video_end_s is not None else start_s + length_s
        place = Segment(start_s, end_s)
        faces, frames = finder.faces(u.video, place, waveform), partial(finder.frames, u.video, place)
    text = None if "text" in without else u.text
    segment = Segment(0.0, max(length_s, 1e-3), u.speaker, text)
    return Utterance(segment, None if "speech" in without else waveform, faces, frames)
