"""A timeline as one JSON object, there and back: what the server answers and its client reads."""

from collections.abc import Mapping
from typing import Any

from emofuse.prediction import Moment, Prediction, Timeline, WordEvidence


def timeline_to_dict(timeline: Timeline) -> dict[str, Any]:
    """The JSON object of a timeline; its ``predictions`` are those of ``emofuse predict --format json``."""
    return {
        "source": timeline.source,
        "duration_s": timeline.duration_s,
        "problems": list(timeline.problems),
        "predictions": [prediction.to_dict() for prediction in timeline],
    }


def timeline_from_dict(given: Mapping[str, Any]) -> Timeline:
    """The timeline of `timeline_to_dict`'s object; keys that are not known are left out."""
    predictions = tuple(prediction_from_dict(p) for p in given["predictions"])
    return Timeline(given["source"], given["duration_s"], predictions, tuple(given["problems"]))


def prediction_from_dict(given: Mapping[str, Any]) -> Prediction:
    """The prediction of `Prediction.to_dict`'s object."""
    known = {key: given[key] for key in Prediction.__dataclass_fields__ if key in given}
    lists = {
        "modalities": tuple(given["modalities"]),
        "missing": tuple(given["missing"]),
        "words": tuple(WordEvidence(**word) for word in given["words"]),
        "moments": tuple(Moment(**moment) for moment in given["moments"]),
    }
    return Prediction(**(known | lists))
