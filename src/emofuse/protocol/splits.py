"""Evaluation protocols as data: which utterances train, which select, which test, and what the classes are."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from emofuse.batching import stable_seed
from emofuse.corpora.iemocap import is_improvised, script_of
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import ConfigError, DataError
from emofuse.labels import LabelSet, label_set

DEV_FRACTION = 0.15
"""Share of the training speakers or dialogues that becomes dev where a corpus has none of its own."""


@dataclass(frozen=True)
class Fold:
    """Utterance ids of one fold.

    Attributes:
        name: Unique in the protocol: the session, speakers or task that is tested.
        classes: Class names and merges.
        train, dev, test: Utterance ids; no id stands in two of them.
        voted: Ids of the training part's utterances that have no label of a class, but votes for some.
    """

    name: str
    classes: LabelSet
    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]
    voted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an overlapping or empty part."""
        seen: dict[str, str] = {}
        for part in ("train", "dev", "test", "voted"):
            ids = getattr(self, part)
            if not ids and part != "voted":
                raise DataError(f"fold {self.name}: {part} is empty, need at least one labelled utterance")
            for i in ids:
                if i in seen:
                    raise DataError(
                        f"fold {self.name}: utterance {i} is in {seen[i]} and in {part}, need disjoint parts"
                    )
                seen[i] = part


@dataclass(frozen=True)
class Protocol:
    """A protocol; results of one protocol only are compared.

    Attributes:
        id: Stable name.
        metric: Primary metric, which also selects on dev: a key of `compute_metrics`.
        group: ``speaker`` or ``dialogue``: what is disjoint between parts and resampled for intervals.
        folds: Corpus, labels and seed of the dev draw to folds.
        labels: Name of the label set; None: the recipe names it.
        description: One line.
    """

    id: str
    metric: str
    group: str
    folds: "Callable[[list[Utterance], LabelSet, int], list[Fold]]"
    labels: str | None
    description: str


def group_of(utterance: Utterance, group: str) -> str:
    """The speaker or dialogue of an utterance; an isolated utterance is a group of its own."""
    return getattr(utterance, group) or utterance.dialogue or utterance.speaker or utterance.id


def labelled(utterances: Iterable[Utterance], classes: LabelSet) -> list[Utterance]:
    """Utterances whose label has a class."""
    return [u for u in utterances if classes.class_index(u.label, u.original_label) is not None]


def only_voted(u: Utterance, classes: LabelSet) -> bool:
    """Whether an utterance has no label of a class, but votes for some."""
    if classes.class_index(u.label, u.original_label) is not None:
        return False
    return any(classes.class_index(label) is not None for label in u.votes or ())


def carve_dev(utterances: Sequence[Utterance], group: str, seed: int) -> tuple[list[Utterance], list[Utterance]]:
    """Set whole speakers or dialogues aside as dev until they hold `DEV_FRACTION` of the utterances."""
    members: dict[str, list[Utterance]] = defaultdict(list)
    for u in utterances:
        members[group_of(u, group)].append(u)
    if len(members) < 2:
        raise DataError(f"{len(members)} {group} in the training data, need at least two to set one aside as dev")
    names = sorted(members)
    dev: set[str] = set()
    n_dev = 0
    for i in np.random.default_rng(stable_seed(seed, "dev")).permutation(len(names)):
        if n_dev >= DEV_FRACTION * len(utterances) or len(dev) == len(names) - 1:
            break
        dev.add(names[i])
        n_dev += len(members[names[i]])
    return (
        [u for u in utterances if group_of(u, group) not in dev],
        [u for u in utterances if group_of(u, group) in dev],
    )


def _fold(
    name: str,
    classes: LabelSet,
    parts: tuple[Iterable[Utterance], Iterable[Utterance], Iterable[Utterance]],
    group: str,
) -> Fold:
    """A fold of the labelled utterances, checked to share no group between parts."""
    seen: dict[str, str] = {}
    ids = []
    for part, utterances in zip(("train", "dev", "test"), parts, strict=True):
        kept = labelled(utterances, classes)
        for key in {group_of(u, group) for u in kept}:
            if key in seen:
                raise DataError(f"fold {name}: {group} {key} is in {seen[key]} and in {part}, need disjoint {group}s")
            seen[key] = part
        ids.append(tuple(u.id for u in kept))
    return Fold(name, classes, *ids)


def _by_split(utterances: Sequence[Utterance], classes: LabelSet, seed: int, group: str = "dialogue") -> list[Fold]:
    """The corpus' own train, dev and test; dev is carved from train where it has none."""
    parts: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for u in labelled(utterances, classes):
        if u.split is not None:
            parts[u.split].append(u)
    if not parts["train"] or not parts["test"]:
        raise DataError(
            f"{len(parts['train'])} train and {len(parts['test'])} test utterances with a label of "
            f"{classes.name}, need both; set the split column to train, dev or test"
        )
    if not parts["dev"]:
        parts["train"], parts["dev"] = carve_dev(parts["train"], group, seed)
    fold = _fold("test", classes, (parts["train"], parts["dev"], parts["test"]), group)
    elsewhere = {group_of(u, group) for part in ("dev", "test") for u in parts[part]}
    of_train = [u for u in utterances if u.split == "train" and group_of(u, group) not in elsewhere]
    return [replace(fold, voted=tuple(u.id for u in of_train if only_voted(u, classes)))]


def _leave_session_out(utterances: Sequence[Utterance], classes: LabelSet, seed: int) -> list[Fold]:
    """A fold a session; dev is dialogues of the other sessions, drawn anew for each fold."""
    utterances = labelled(utterances, classes)
    sessions = sorted({u.session for u in utterances if u.session})
    if len(sessions) < 2:
        raise DataError(f"{len(sessions)} sessions, need at least two to leave one out")
    folds = []
    for session in sessions:
        rest = [u for u in utterances if u.session != session]
        train, dev = carve_dev(rest, "dialogue", stable_seed(seed, session))
        folds.append(_fold(session, classes, (train, dev, [u for u in utterances if u.session == session]), "dialogue"))
    return folds


def _improvised(utterances: Sequence[Utterance], classes: LabelSet, seed: int) -> list[Fold]:
    """Leave a session out of the improvised dialogues: no two sessions share their words."""
    return _leave_session_out([u for u in utterances if is_improvised(u.dialogue or "")], classes, seed)


def _leave_script_out(utterances: Sequence[Utterance], classes: LabelSet, seed: int) -> list[Fold]:
    """A fold a session and third of the scripts: neither is trained on, so neither speakers nor words are known.

    The situations of the improvised dialogues are dealt to the three scripts. A fold trains on four sessions'
    other two thirds, on 53 % of the corpus instead of 80 %.
    """
    utterances = labelled(utterances, classes)
    third = {u.dialogue: script_of(u.dialogue or "") % 3 for u in utterances}
    folds = []
    for session in sorted({u.session for u in utterances if u.session}):
        for k in (1, 2, 0):
            test = [u for u in utterances if u.session == session and third[u.dialogue] == k]
            rest = [u for u in utterances if u.session != session and third[u.dialogue] != k]
            train, dev = carve_dev(rest, "dialogue", stable_seed(seed, session, k))
            folds.append(_fold(f"{session}-script{k or 3:02}", classes, (train, dev, test), "dialogue"))
    return folds


def _session5(utterances: Sequence[Utterance], classes: LabelSet, seed: int) -> list[Fold]:
    """Train Ses01-04, test Ses05, for a corpus with or without marked dev dialogues."""
    chosen = labelled(utterances, classes)
    rest = [u for u in chosen if u.session != "Ses05"]
    dev = [u for u in rest if u.split == "dev"]
    train = [u for u in rest if u.split != "dev"]
    if not dev:
        train, dev = carve_dev(rest, "dialogue", seed)
    return [_fold("Ses05", classes, (train, dev, [u for u in chosen if u.session == "Ses05"]), "dialogue")]


def _binary_session5(utterances: Sequence[Utterance], classes: LabelSet, seed: int) -> list[Fold]:
    """One task an emotion, it against the rest (Pan et al., Table 3)."""
    (fold,) = _session5(utterances, classes, seed)
    tasks = []
    for name in classes.classes:
        rest = {c: "rest" for c in classes.classes if c != name}
        tasks.append(replace(fold, name=name, classes=LabelSet(f"{classes.name}-{name}", ("rest", name), rest)))
    return tasks


def _leave_speakers_out(n_folds: int) -> Callable[[Sequence[Utterance], LabelSet, int], list[Fold]]:
    """Groups of speakers, balanced by sex where known; dev is other speakers of the training part."""

    def folds(utterances: Sequence[Utterance], classes: LabelSet, seed: int) -> list[Fold]:
        utterances = labelled(utterances, classes)
        sex = {u.speaker: u.sex or "" for u in utterances if u.speaker}
        speakers = sorted(sex, key=lambda s: (sex[s], s))
        if len(speakers) < n_folds + 1:
            raise DataError(f"{len(speakers)} speakers, need at least {n_folds + 1} for {n_folds} folds")
        result = []
        for k in range(n_folds):
            held_out = set(speakers[k::n_folds])
            rest = [u for u in utterances if u.speaker not in held_out]
            train, dev = carve_dev(rest, "speaker", stable_seed(seed, k))
            test = [u for u in utterances if u.speaker in held_out]
            result.append(_fold("+".join(sorted(held_out)), classes, (train, dev, test), "speaker"))
        return result

    return folds


PROTOCOLS: dict[str, Protocol] = {
    p.id: p
    for p in (
        Protocol("iemocap4-loso", "ua", "dialogue", _leave_session_out, "iemocap4", "CMA: 5531 utterances, 5 sessions"),
        Protocol("iemocap4-improvised", "ua", "dialogue", _improvised, "iemocap4", "improvised dialogues, 5 sessions"),
        Protocol("iemocap4-script", "ua", "dialogue", _leave_script_out, "iemocap4", "sessions and scripts held out"),
        Protocol(
            "iemocap4-s5", "wa", "dialogue", _session5, "iemocap4-mman", "MMAN: 5810 / 1623 utterances, test Ses05"
        ),
        Protocol(
            "iemocap-binary-s5",
            "wa",
            "dialogue",
            _binary_session5,
            "iemocap4-binary",
            "MMAN, Table 3: one against rest",
        ),
        Protocol("iemocap6-s5", "f1_weighted", "dialogue", _session5, "iemocap6", "six classes, test Ses05"),
        Protocol("mosi2", "wa", "dialogue", _by_split, "mosi2", "CMU-MOSI, 62 / 31 videos, binary sentiment"),
        Protocol("meld7", "f1_weighted", "dialogue", _by_split, "meld7", "MELD, official split, 7 emotions"),
        Protocol("emodb-loso", "ua", "speaker", _leave_speakers_out(5), "emotions4", "EMO-DB, 5 folds of 2 speakers"),
        Protocol(
            "ravdess-loso", "ua", "speaker", _leave_speakers_out(6), "emotions4", "RAVDESS, 6 folds of 4 speakers"
        ),
        Protocol("speakers", "ua", "speaker", _leave_speakers_out(8), None, "8 groups of speakers of any corpus"),
        Protocol("split", "ua", "dialogue", _by_split, None, "the corpus' own split; the recipe names the labels"),
    )
}


def protocol(name: str) -> Protocol:
    """The protocol of that id.

    Raises:
        ConfigError: It is unknown; the message lists the known ones.
    """
    try:
        return PROTOCOLS[name]
    except KeyError:
        raise ConfigError(f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}") from None


def make_folds(corpus: Corpus, name: str, labels: str | None, seed: int) -> list[Fold]:
    """Folds of a corpus under a protocol; `seed` decides which speakers or dialogues are dev, nothing else."""
    chosen = protocol(name)
    classes = chosen.labels or labels
    if classes is None:
        raise ConfigError(f"protocol {name} has no labels of its own: set `labels` in the recipe")
    return chosen.folds(list(corpus.utterances), label_set(classes), seed)
