"""openSMILE's INTERSPEECH 2013 set and a linear support vector machine: the classical baseline of the field.

openSMILE is free for research only.
"""

from pathlib import Path

import numpy as np
import opensmile
from plain_audio import SAMPLE_RATE, read_16k, windows
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

N_FEATURES = 6373


def make(n_classes: int = 4, n_utterances: int = 40) -> tuple[opensmile.Smile, Pipeline]:
    """The extractor, and a classifier that is fitted on random features: for speed alone."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n_utterances, N_FEATURES))
    classifier = make_pipeline(StandardScaler(), LinearSVC(max_iter=100, tol=1.0))
    classifier.fit(features, np.arange(n_utterances) % n_classes)
    return opensmile.Smile(opensmile.FeatureSet.IS13, opensmile.FeatureLevel.Functionals), classifier


def extract(smile: opensmile.Smile, waveform: np.ndarray) -> np.ndarray:
    """(n_samples,) at 16 kHz -> (6373,)."""
    return smile.process_signal(waveform, SAMPLE_RATE).to_numpy()[0]


def predict(smile: opensmile.Smile, classifier: Pipeline, waveforms: np.ndarray) -> np.ndarray:
    """(batch, n_samples) at 16 kHz -> (batch,) classes."""
    return classifier.predict(np.stack([extract(smile, w) for w in waveforms]))


def predict_file(smile: opensmile.Smile, classifier: Pipeline, path: str | Path) -> list[int]:
    """The class of each 10 s of a file."""
    return [int(predict(smile, classifier, piece[None])[0]) for piece in windows(read_16k(path))]
