"""Media in, predictions out: one checkpoint, or several single-modality ones fused late."""

from emofuse.media.recognition import Recogniser
from emofuse.prediction import Moment, Prediction, Timeline, WordEvidence, to_pandas
from emofuse.predictor.loading import default_model, load
from emofuse.predictor.part import Part
from emofuse.predictor.past import Past
from emofuse.predictor.predictor import MODALITIES, UNSURE, Observed, Predictor
from emofuse.recording import FaceFinder, Recording, Sources, Utterance

__all__ = [
    "MODALITIES",
    "UNSURE",
    "FaceFinder",
    "Moment",
    "Observed",
    "Part",
    "Past",
    "Prediction",
    "Predictor",
    "Recogniser",
    "Recording",
    "Sources",
    "Timeline",
    "Utterance",
    "WordEvidence",
    "default_model",
    "load",
    "to_pandas",
]
