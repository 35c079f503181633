"""What was felt: one frozen `Prediction` an utterance, and the `Timeline` of a recording."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class WordEvidence:
    """How much of a decision rests on one word.

    Attributes:
        text: As given.
        start_s, end_s: Place in the file, in seconds; None when the word's time is not known.
        weight: Share of the decision on the utterance's words; they sum to 1, or are 0 where no
            part of the model read them.
    """

    text: str
    start_s: float | None
    end_s: float | None
    weight: float


@dataclass(frozen=True)
class Moment:
    """How much of the decision on the sound rests on one stretch of the file; an utterance's sum to 1.

    The attention that the stretch receives; of a model without attention, what leaving the stretch out costs.
    """

    start_s: float
    end_s: float
    weight: float


@dataclass(frozen=True)
class Prediction:
    """What was felt in one utterance.

    Attributes:
        source: The file, as it was named.
        start_s, end_s: Place in the file, in seconds.
        speaker: None when not known.
        text: The words that were given or recognised, None without.
        label: The likeliest class.
        probabilities: Class to calibrated probability; they sum to 1.
        modalities: What the decision rests on: of ``speech``, ``visual``, ``text``.
        missing: What the model could have used and was not there.
        confidence: Probability of `label`.
        unsure: Whether `confidence` is below the predictor's threshold.
        weights: Modality used to its share in the decision; they sum to 1.
        by_modality: Modality (or modalities of a fused model, joined by ``+``) to the class
            probabilities that it gives on its own: the numbers behind a late fusion.
        words: Words and the share of each in the decision; empty where nothing was said, or where neither a text
            model read it nor the words' times are known.
        moments: Stretches of sound and the share of each, in order; empty without a speech model.
    """

    source: str
    start_s: float
    end_s: float
    speaker: str | None
    text: str | None
    label: str
    probabilities: dict[str, float]
    modalities: tuple[str, ...]
    missing: tuple[str, ...]
    confidence: float
    unsure: bool
    weights: dict[str, float] = field(default_factory=dict)
    by_modality: dict[str, dict[str, float]] = field(default_factory=dict)
    words: tuple[WordEvidence, ...] = ()
    moments: tuple[Moment, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of this prediction: the same from command line and Python; tuples become lists."""
        lists = {key: list(value) for key, value in asdict(self).items() if isinstance(value, tuple)}
        return asdict(self) | lists

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "Prediction":
        """The prediction of `to_dict`'s object; keys that are not known are left out."""
        known = {key: given[key] for key in cls.__dataclass_fields__ if key in given}
        tuples = {
            "modalities": tuple(given["modalities"]),
            "missing": tuple(given["missing"]),
            "words": tuple(WordEvidence(**word) for word in given["words"]),
            "moments": tuple(Moment(**moment) for moment in given["moments"]),
        }
        return cls(**(known | tuples))


@dataclass(frozen=True)
class Timeline(Sequence[Prediction]):
    """The utterances of one recording in order of time: a sequence of `Prediction`.

    Attributes:
        source: The file, as it was named.
        duration_s: Its length in seconds.
        predictions: One an utterance; none when nobody speaks.
        problems: What the user should know of the file, a line each: damage, silence, segments left out.
    """

    source: str
    duration_s: float
    predictions: tuple[Prediction, ...]
    problems: tuple[str, ...] = ()

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Prediction, ...]: ...
    def __getitem__(self, index: int | slice) -> Prediction | tuple[Prediction, ...]:
        """One prediction, or a slice of them."""
        return self.predictions[index]

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.predictions)

    def __iter__(self) -> Iterator[Prediction]:
        """In order of time."""
        return iter(self.predictions)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of a recording: what the server answers; see `Prediction.to_dict`."""
        return {
            "source": self.source,
            "duration_s": self.duration_s,
            "problems": list(self.problems),
            "predictions": [prediction.to_dict() for prediction in self],
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "Timeline":
        """The timeline of `to_dict`'s object."""
        predictions = tuple(Prediction.from_dict(p) for p in given["predictions"])
        return cls(given["source"], given["duration_s"], predictions, tuple(given["problems"]))

    def to_pandas(self) -> "pd.DataFrame":
        """One row an utterance, see `to_pandas`."""
        return to_pandas(self.predictions)


def rows(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Predictions as flat rows: a column a class, ``p_LABEL``, and a column a modality, ``w_MODALITY``."""
    modalities = sorted({m for p in predictions for m in (*p.modalities, *p.missing)})
    result = []
    for p in predictions:
        row: dict[str, Any] = {
            "source": p.source,
            "start_s": p.start_s,
            "end_s": p.end_s,
            "speaker": p.speaker,
            "text": p.text,
            "label": p.label,
            "confidence": p.confidence,
            "unsure": p.unsure,
            "modalities": "+".join(p.modalities),
            "missing": "+".join(p.missing),
        }
        row |= {f"p_{label}": value for label, value in p.probabilities.items()}
        row |= {f"w_{modality}": p.weights.get(modality) for modality in modalities}
        result.append(row)
    return result


def to_pandas(predictions: Sequence[Prediction]) -> "pd.DataFrame":
    """One row an utterance, columns as `rows` names them; needs pandas."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("to_pandas needs pandas: pip install pandas") from error
    return pd.DataFrame(rows(predictions))
