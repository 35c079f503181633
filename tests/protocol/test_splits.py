import re
from collections import Counter

import pytest

from emofuse.corpora import load_corpus
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import ConfigError, DataError
from emofuse.labels import label_set
from emofuse.protocol.splits import DEV_FRACTION, PROTOCOLS, Fold, carve_dev, group_of, make_folds, protocol

FOUR = label_set("iemocap4")
LABELS = ("angry", "happy", "neutral", "sad", "excited", "frustrated")


def iemocap(**changes) -> Corpus:
    """5 sessions of 4 dialogues of 12 utterances, two of every label; in each the last happy one has no agreement."""
    utterances = []
    for s in range(1, 6):
        for d in range(4):
            dialogue = f"Ses{s:02}_impro{d:02}"
            for k in range(12):
                utterances.append(
                    Utterance(
                        f"{dialogue}_{k:03}",
                        "iemocap",
                        LABELS[k % 6],
                        "xxx" if k == 7 else LABELS[k % 6][:3],
                        dialogue,
                        k,
                        f"Ses{s:02}{'FM'[k % 2]}",
                        f"Ses{s:02}",
                        **changes,
                    )
                )
        utterances.append(Utterance(f"Ses{s:02}_other", "iemocap", None, "oth", f"Ses{s:02}_impro00", 12))
    return Corpus("iemocap", tuple(utterances))


def mosi(n_dev: int = 0, labels: tuple[str, str] = ("negative", "positive")) -> Corpus:
    """10 videos of 6 utterances: train, then `n_dev` of dev, then 3 of test; every third utterance is neutral."""
    utterances = []
    for v in range(10):
        split = "test" if v >= 7 else "dev" if v >= 7 - n_dev else "train"
        for k in range(6):
            label = "neutral" if k % 3 == 2 else labels[k % 2]
            utterances.append(Utterance(f"v{v}_{k}", "mosi-table", label, None, f"v{v}", k, f"s{v}", split=split))
    return Corpus("mosi-table", tuple(utterances))


def speakers(n: int) -> Corpus:
    """`n` speakers, women and men in turn, 8 isolated clips each, without dialogue, session or split."""
    return Corpus(
        "emodb",
        tuple(
            Utterance(f"{s:02}-{k}", "emodb", LABELS[k % 4], None, speaker=f"{s:02}", sex=("female", "male")[s % 2])
            for s in range(n)
            for k in range(8)
        ),
    )


def iemocap_table() -> Corpus:
    """5 sessions of one dialogue a script and situation, eight improvised and three scripted, of four utterances."""
    utterances = []
    for s in range(1, 6):
        for kind, numbers in (("impro", range(1, 9)), ("script", range(1, 4))):
            for d in numbers:
                dialogue = f"Ses{s:02}F_{kind}{d:02}" + ("_1" if kind == "script" else "")
                utterances += [
                    Utterance(f"{dialogue}_{k}", "iemocap", LABELS[k], None, dialogue, k, f"Ses{s:02}F", f"Ses{s:02}")
                    for k in range(4)
                ]
    return Corpus("iemocap", tuple(utterances))


CASES = {
    "iemocap4-improvised": (iemocap_table, 5),
    "iemocap4-script": (iemocap_table, 15),
    "iemocap4-loso": (iemocap, 5),
    "iemocap4-s5": (iemocap, 1),
    "iemocap-binary-s5": (iemocap, 4),
    "iemocap6-s5": (iemocap, 1),
    "mosi2": (mosi, 1),
    "meld7": (lambda: mosi(2, ("angry", "happy")), 1),
    "emodb-loso": (lambda: speakers(10), 5),
    "ravdess-loso": (lambda: speakers(24), 6),
    "speakers": (lambda: speakers(9), 8),
    "split": (mosi, 1),
}


RECIPE_LABELS = {"speakers": "emotions4", "split": "mosi2"}


def test_every_protocol_is_tested_here():
    assert set(CASES) == set(PROTOCOLS)
    assert set(RECIPE_LABELS) == {p.id for p in PROTOCOLS.values() if p.labels is None}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_parts_share_no_dialogue_or_speaker(name, seed):
    make, n_folds = CASES[name]
    corpus = make()
    by_id = {u.id: u for u in corpus.utterances}
    folds = make_folds(corpus, name, RECIPE_LABELS.get(name), seed)
    assert len(folds) == n_folds
    assert len({fold.name for fold in folds}) == n_folds
    for fold in folds:
        parts = [{group_of(by_id[i], protocol(name).group) for i in ids} for ids in (fold.train, fold.dev, fold.test)]
        assert all(parts)
        assert sum(map(len, parts)) == len(set().union(*parts))
        for i in (*fold.train, *fold.dev, *fold.test):
            assert fold.classes.class_index(by_id[i].label, by_id[i].original_label) is not None
    assert make_folds(corpus, name, RECIPE_LABELS.get(name), seed) == folds


@pytest.mark.parametrize("name", ["iemocap4-loso", "emodb-loso", "ravdess-loso", "speakers"])
def test_every_labelled_utterance_is_tested_exactly_once(name):
    corpus = CASES[name][0]()
    folds = make_folds(corpus, name, RECIPE_LABELS.get(name), 0)
    classes = folds[0].classes
    expected = [u.id for u in corpus.utterances if classes.class_index(u.label, u.original_label) is not None]
    assert sorted(i for fold in folds for i in fold.test) == sorted(expected)
    for fold in folds:
        assert len(fold.train) + len(fold.dev) + len(fold.test) == len(expected)


def test_leave_one_session_out():
    folds = make_folds(iemocap(), "iemocap4-loso", None, 0)
    assert [fold.name for fold in folds] == ["Ses01", "Ses02", "Ses03", "Ses04", "Ses05"]
    for fold in folds:
        assert all(i.startswith(fold.name) for i in fold.test)
        assert not any(i.startswith(fold.name) for i in (*fold.train, *fold.dev))


def test_improvised_dialogues_alone():
    for fold in make_folds(iemocap_table(), "iemocap4-improvised", None, 0):
        assert all("impro" in i for i in (*fold.train, *fold.dev, *fold.test))
        assert len(fold.train) + len(fold.dev) == 4 * 8 * 4
        assert len(fold.test) == 8 * 4


def test_scripts_and_situations_that_are_tested_are_never_trained_on():
    folds = make_folds(iemocap_table(), "iemocap4-script", None, 0)
    tested = [i for fold in folds for i in fold.test]
    assert len(tested) == len(set(tested)) == 5 * 11 * 4
    for fold in folds:
        train, test = ({i[:5] for i in ids} for ids in ((*fold.train, *fold.dev), fold.test))
        assert not train & test
        scripts, held_out = ({i.split("_")[1] for i in ids} for ids in ((*fold.train, *fold.dev), fold.test))
        assert not scripts & held_out
    assert folds[0].name == "Ses01-script01"
    assert {i.split("_")[1] for i in folds[0].test} == {"impro01", "impro04", "impro07", "script01"}


def test_the_seed_decides_dev_and_nothing_else():
    folds = [make_folds(iemocap(), "iemocap4-s5", None, seed)[0] for seed in range(4)]
    assert len({fold.test for fold in folds}) == 1
    assert len({frozenset(fold.train + fold.dev) for fold in folds}) == 1
    assert len({fold.dev for fold in folds}) > 1


def test_no_agreement_is_dropped_for_cma_and_kept_for_mman():
    def used(name: str) -> set[str]:
        return {i for fold in make_folds(iemocap(), name, None, 0) for i in (*fold.train, *fold.dev, *fold.test)}

    # utterances 5 and 11 are frustrated, 7 is happy without agreement, the last has no label
    assert {i[-3:] for i in used("iemocap4-loso")} == {f"{k:03}" for k in (0, 1, 2, 3, 4, 6, 8, 9, 10)}
    assert {i[-3:] for i in used("iemocap4-s5")} == {f"{k:03}" for k in range(12)}


def test_binary_tasks_set_each_emotion_against_the_rest():
    folds = make_folds(iemocap(), "iemocap-binary-s5", None, 0)
    names = ["happy", "sad", "neutral", "angry"]
    assert [fold.name for fold in folds] == names
    for fold, name in zip(folds, names, strict=True):
        assert fold.classes.classes == ("rest", name)
        assert [fold.classes.class_index(label) for label in names] == [int(label == name) for label in names]
        assert fold.classes.class_index("excited") is None
        assert fold.classes.class_index("frustrated") is None
        assert (fold.train, fold.dev, fold.test) == (folds[0].train, folds[0].dev, folds[0].test)


def test_official_dev_is_kept():
    (fold,) = make_folds(mosi(2), "mosi2", None, 0)
    assert {i[:2] for i in fold.train} == {"v0", "v1", "v2", "v3", "v4"}
    assert {i[:2] for i in fold.dev} == {"v5", "v6"}
    assert {i[:2] for i in fold.test} == {"v7", "v8", "v9"}
    assert (fold,) == tuple(make_folds(mosi(2), "mosi2", None, 5))


def test_marked_dev_dialogues_of_iemocap_are_kept():
    corpus = iemocap()
    marked = tuple(
        Utterance(**{**vars(u), "split": "dev" if u.dialogue == "Ses02_impro01" else "train"})
        for u in corpus.utterances
    )
    (fold,) = make_folds(Corpus("iemocap", marked), "iemocap4-s5", None, 0)
    assert {i[:13] for i in fold.dev} == {"Ses02_impro01"}
    assert len(fold.train) == 15 * 12


def test_what_has_only_votes_is_named_where_it_trains():
    rows = [
        Utterance(f"{split}-{name}", "x", label, split=split, votes=votes)
        for split in ("train", "dev", "test")
        for name, label, votes in (
            ("one", "happy", {"happy": 1}),
            ("two", None, {"happy": 1, "annoyance": 1}),
            ("none", None, {"curiosity": 1, "surprised": 1}),
            ("other", "curiosity", {"curiosity": 1}),
            ("silent", None, None),
        )
    ]
    (fold,) = make_folds(Corpus("x", tuple(rows)), "split", "emotions4", 0)
    assert (fold.train, fold.voted) == (("train-one",), ("train-two",))
    with pytest.raises(DataError, match="utterance a is in train and in voted"):
        Fold("f", FOUR, ("a",), ("b",), ("c",), ("a",))


def test_votes_of_a_dialogue_that_is_carved_as_dev_do_not_train():
    rows = [
        Utterance(f"{d}-{i}", "x", "happy" if i else None, dialogue=f"d{d}", split="train", votes={"happy": 1})
        for d in range(10)
        for i in range(2)
    ]
    (fold,) = make_folds(Corpus("x", (*rows, Utterance("t", "x", "sad", split="test"))), "split", "emotions4", 0)
    assert len(fold.dev) == 2
    assert {i[0] for i in fold.voted} == {i[0] for i in fold.train}


def test_a_carved_dev_is_whole_groups_of_about_the_share():
    utterances = list(speakers(20).utterances)
    train, dev = carve_dev(utterances, "speaker", 0)
    assert len(dev) == DEV_FRACTION * len(utterances)
    assert set(Counter(u.speaker for u in dev).values()) == {8}
    assert len(train) + len(dev) == len(utterances)
    train, dev = carve_dev(utterances[:16], "speaker", 0)  # of two speakers one stays in train
    assert len(train) == len(dev) == 8
    with pytest.raises(DataError, match="1 speaker in the training data, need at least two"):
        carve_dev(utterances[:8], "speaker", 0)


def test_folds_of_speakers_are_balanced_by_sex():
    corpus = speakers(24)
    sex = {u.speaker: u.sex for u in corpus.utterances}
    for fold in make_folds(corpus, "ravdess-loso", None, 0):
        assert Counter(sex[s] for s in fold.name.split("+")) == {"female": 2, "male": 2}


def test_group_of():
    assert group_of(Utterance("u", "c", dialogue="d", speaker="s"), "speaker") == "s"
    assert group_of(Utterance("u", "c", dialogue="d", speaker="s"), "dialogue") == "d"
    assert group_of(Utterance("u", "c", dialogue="d"), "speaker") == "d"
    assert group_of(Utterance("u", "c", speaker="s"), "dialogue") == "s"
    assert group_of(Utterance("u", "c"), "dialogue") == "u"


def test_a_fold_refuses_overlap():
    with pytest.raises(DataError, match=r"^fold f: utterance b is in train and in test, need disjoint parts$"):
        Fold("f", FOUR, ("a", "b"), ("c",), ("b",))
    with pytest.raises(DataError, match="utterance a is in train and in train"):
        Fold("f", FOUR, ("a", "a"), ("c",), ("b",))


@pytest.mark.parametrize("part", ["train", "dev", "test"])
def test_a_fold_refuses_an_empty_part(part):
    parts = {"train": ("a",), "dev": ("b",), "test": ("c",), part: ()}
    with pytest.raises(DataError, match=f"^fold f: {part} is empty, need at least one labelled utterance$"):
        Fold("f", FOUR, **parts)


REFUSED = {
    "a dialogue in train and test": (
        lambda: Corpus(
            "x",
            tuple(
                Utterance(f"{s}{d}", "x", "happy", dialogue=f"d{d}", split=s)
                for s in ("train", "test")
                for d in (1, 2, 3)
            ),
        ),
        "split",
        r"^fold test: dialogue d\d is in (train|dev) and in test, need disjoint dialogues$",
    ),
    "no split": (
        lambda: speakers(4),
        "split",
        "0 train and 0 test utterances with a label of iemocap4, need both; set the split column",
    ),
    "one session": (
        lambda: Corpus("x", tuple(u for u in iemocap().utterances if u.session == "Ses01")),
        "iemocap4-loso",
        "1 sessions, need at least two to leave one out",
    ),
    "few speakers": (lambda: speakers(5), "emodb-loso", "5 speakers, need at least 6 for 5 folds"),
    "no session 5": (
        lambda: Corpus("x", tuple(u for u in iemocap().utterances if u.session != "Ses05")),
        "iemocap4-s5",
        "fold Ses05: test is empty, need at least one labelled utterance",
    ),
    "no utterances": (lambda: Corpus("x", ()), "mosi2", "0 train and 0 test"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_split_is_refused_in_one_line(case):
    make, name, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as caught:
        make_folds(make(), name, "iemocap4", 0)
    assert "\n" not in str(caught.value)


def test_protocol_names_and_labels():
    with pytest.raises(ConfigError, match=re.escape("unknown protocol 'loso'; known: iemocap4-loso")):
        protocol("loso")
    with pytest.raises(ConfigError, match="protocol split has no labels of its own: set `labels` in the recipe"):
        make_folds(mosi(), "split", None, 0)
    with pytest.raises(ConfigError, match="unknown label set 'mosi3'"):
        make_folds(mosi(), "split", "mosi3", 0)
    # a protocol's own labels are not the recipe's to change
    assert make_folds(mosi(), "mosi2", "iemocap4", 0)[0].classes.name == "mosi2"


@pytest.fixture(scope="module")
def real_iemocap(corpora_dir):
    return load_corpus("iemocap-table", corpora_dir / "iemocap")


@pytest.mark.corpora
def test_real_iemocap_gives_the_counts_of_both_papers(real_iemocap):
    folds = make_folds(real_iemocap, "iemocap4-loso", None, 0)
    assert [len(fold.test) for fold in folds] == [1085, 1023, 1151, 1031, 1241]
    assert sum(len(fold.test) for fold in folds) == 5531
    (fold,) = make_folds(real_iemocap, "iemocap4-s5", None, 0)
    assert (len(fold.train) + len(fold.dev), len(fold.test)) == (5810, 1623)
    by_id = {u.id: u for u in real_iemocap.utterances}
    assert len({by_id[i].dialogue for i in fold.test}) == 31
    assert len({by_id[i].dialogue for i in (*fold.train, *fold.dev)}) == 120
    assert {len(fold.test) for fold in make_folds(real_iemocap, "iemocap-binary-s5", None, 0)} == {943}


@pytest.mark.corpora
def test_real_iemocap_binary_majorities(real_iemocap):
    by_id = {u.id: u for u in real_iemocap.utterances}
    shares = {}
    for fold in make_folds(real_iemocap, "iemocap-binary-s5", None, 0):
        shares[fold.name] = sum(by_id[i].label != fold.name for i in fold.test) / len(fold.test)
    assert {k: round(100 * v, 1) for k, v in shares.items()} == {
        "happy": 84.7,
        "sad": 74.0,
        "neutral": 59.3,
        "angry": 82.0,
    }


@pytest.mark.corpora
def test_real_mosi(corpora_dir):
    corpus = load_corpus("mosi-table", corpora_dir / "mosi")
    (fold,) = make_folds(corpus, "mosi2", None, 0)
    assert (len(fold.train) + len(fold.dev), len(fold.test)) == (1447, 752)
    by_id = {u.id: u for u in corpus.utterances}
    assert len({by_id[i].dialogue for i in fold.test}) == 31
    assert len({by_id[i].dialogue for i in (*fold.train, *fold.dev)}) == 62
