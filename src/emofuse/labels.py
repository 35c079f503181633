"""Emotion labels: one vocabulary for every corpus, and the merges that each protocol makes of it.

A reader translates its corpus' own code (``exc``, ``W``, ``03``) to a name of `EMOTIONS` or
`SENTIMENTS` (GoEmotions keeps its finer names, see `GOEMOTIONS`). A protocol then picks a
`LabelSet`: ordered class names and the merging map, for example ``excited -> happy``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from emofuse.errors import ConfigError

EMOTIONS = (
    "angry",
    "happy",
    "neutral",
    "sad",
    "excited",
    "frustrated",
    "calm",
    "fearful",
    "disgusted",
    "surprised",
    "bored",
    "contempt",
    "other",
)
"""Names that a reader may give as `Utterance.label`."""

SENTIMENTS = ("negative", "neutral", "positive")
"""Names for sentiment corpora (CMU-MOSI and its kin)."""

GOEMOTIONS: Mapping[str, str] = {
    "anger": "angry",
    "sadness": "sad",
    "joy": "happy",
    "fear": "fearful",
    "disgust": "disgusted",
    "surprise": "surprised",
    "excitement": "excited",
}
"""GoEmotions names that have one in `EMOTIONS`; the other names are kept as they are."""

NO_AGREEMENT = "xxx"
"""IEMOCAP's code for an utterance on which the annotators did not agree."""


@dataclass(frozen=True)
class LabelSet:
    """Ordered class names of a protocol and how corpus labels merge into them.

    Attributes:
        name: Name of the set.
        classes: Class names; a class' position is its index in logits and confusion matrices.
        merge: Label to class. Labels that are neither here nor in `classes` are left out.
        drop_original: Original codes whose utterances are left out whatever their label says.
    """

    name: str
    classes: tuple[str, ...]
    merge: Mapping[str, str] = field(default_factory=dict)
    drop_original: tuple[str, ...] = ()

    def class_index(self, label: str | None, original_label: str | None = None) -> int | None:
        """Index of the class of a label, or None when the protocol leaves the utterance out."""
        if label is None or original_label in self.drop_original:
            return None
        name = self.merge.get(label, label)
        return self.classes.index(name) if name in self.classes else None


_GO_HAPPY = (
    "excited",
    "amusement",
    "love",
    "admiration",
    "approval",
    "gratitude",
    "optimism",
    "pride",
    "relief",
    "caring",
)
_FOUR = ("angry", "happy", "neutral", "sad")
_FOUR_WIDE = (
    {"excited": "happy", "frustrated": "angry", "calm": "neutral", "annoyance": "angry"}
    | {name: "happy" for name in _GO_HAPPY}
    | {name: "sad" for name in ("grief", "disappointment", "remorse")}
)

LABEL_SETS: dict[str, LabelSet] = {
    s.name: s
    for s in (
        LabelSet("emotions4", _FOUR, _FOUR_WIDE),
        # What a network of emotions4 learns beside. A bored voice is one of the four, as a calm one is.
        LabelSet(
            "emotions7",
            (*_FOUR, "fearful", "disgusted", "surprised"),
            _FOUR_WIDE | {"bored": "neutral", "fear": "fearful", "disgust": "disgusted", "surprise": "surprised"},
        ),
        # CMA: 5531 utterances; the 53 "happy" ones without annotator agreement are out.
        LabelSet("iemocap4", _FOUR, {"excited": "happy"}, (NO_AGREEMENT,)),
        # MMAN, Table 1: happy+excited, sad+frustrated; its 648 "happy" include the 53.
        LabelSet("iemocap4-mman", ("happy", "sad", "neutral", "angry"), {"excited": "happy", "frustrated": "sad"}),
        # MMAN, Table 3: excited and frustrated dropped; one of these is set against the rest.
        LabelSet("iemocap4-binary", ("happy", "sad", "neutral", "angry")),
        LabelSet("iemocap6", ("happy", "sad", "neutral", "angry", "excited", "frustrated")),
        LabelSet("mosi2", ("negative", "positive")),
        LabelSet("meld7", ("neutral", "surprised", "fearful", "sad", "happy", "disgusted", "angry")),
    )
}


def label_set(name: str) -> LabelSet:
    """The label set of that name.

    Raises:
        ConfigError: The name is unknown; the message lists the known ones.
    """
    try:
        return LABEL_SETS[name]
    except KeyError:
        raise ConfigError(f"unknown label set {name!r}; known: {', '.join(LABEL_SETS)}") from None
