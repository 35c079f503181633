from pathlib import Path

import pytest

from emofuse.corpora import goemotions
from emofuse.corpora.check import find_problems, summarise
from emofuse.errors import DataError
from emofuse.labels import GOEMOTIONS, label_set
from emofuse.protocol.splits import make_folds


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    (tmp_path / "labels.txt").write_text("\n".join(goemotions.NAMES))
    (tmp_path / "train.tsv").write_text('So "nice\t17\ta1\nOne\u2028line\t2,27\ta2\n', encoding="utf-8")
    (tmp_path / "dev.tsv").write_text("Hm\t27\tb1\n")
    (tmp_path / "test.tsv").write_text("Thanks\t15\tc1\r\n")
    return tmp_path


def test_rows_become_utterances(replica: Path) -> None:
    corpus = goemotions.read(replica)
    assert [(u.id, u.label, u.original_label, u.split, u.text) for u in corpus.utterances] == [
        ("a1", "happy", "joy", "train", 'So "nice'),
        ("a2", None, "anger,neutral", "train", "One\u2028line"),
        ("b1", "neutral", "neutral", "dev", "Hm"),
        ("c1", "gratitude", "gratitude", "test", "Thanks"),
    ]
    assert corpus.utterances[1].votes == {"angry": 1, "neutral": 1}
    assert find_problems(corpus) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no tabs", r"train\.tsv: row 2: 1 cells, need text, label ids and comment id between tabs"),
        ("text\t28\tid", r"train\.tsv: row 2: label id '28'; need whole numbers from 0 to 27"),
        ("text\tjoy\tid", r"train\.tsv: row 2: label id 'joy'; need whole numbers"),
        ("text\t\tid", r"train\.tsv: row 2: label id ''; need whole numbers"),
        (" \t1\tid", r"train\.tsv: row 2: empty text"),
        ("text\t1\t", r"train\.tsv: row 2: empty comment id"),
        ("text\t1\tb1", r"utterance b1 appears twice"),
    ],
)
def test_malformed_rows_are_refused(replica: Path, line: str, message: str) -> None:
    (replica / "train.tsv").write_text(f"fine\t1\ta0\n{line}\n")
    with pytest.raises(DataError, match=message) as error:
        goemotions.read(replica)
    assert "\n" not in str(error.value)


def test_missing_file_empty_file_and_unknown_name(replica: Path) -> None:
    (replica / "dev.tsv").write_text("")
    with pytest.raises(DataError, match=r"dev\.tsv: empty; need at least one row"):
        goemotions.read(replica)
    (replica / "dev.tsv").unlink()
    with pytest.raises(DataError, match=r"dev\.tsv: no such file"):
        goemotions.read(replica)
    (replica / "labels.txt").write_text("admiration\nhunger\n")
    with pytest.raises(DataError, match=r"labels\.txt: row 2: unknown label 'hunger'; known: admiration"):
        goemotions.read(replica)


MERGED = {
    "angry": "anger annoyance",
    "sad": "sadness grief disappointment remorse",
    "happy": "joy amusement excitement love admiration approval gratitude optimism pride relief caring",
    "neutral": "neutral",
}


def test_the_four_classes_take_these_names_and_no_others() -> None:
    classes = label_set("emotions4")
    found: dict[str, list[str]] = {}
    for name in goemotions.NAMES:
        index = classes.class_index(GOEMOTIONS.get(name, name))
        if index is not None:
            found.setdefault(classes.classes[index], []).append(name)
    assert {c: sorted(names) for c, names in found.items()} == {c: sorted(n.split()) for c, n in MERGED.items()}


@pytest.mark.corpora
def test_real_goemotions(corpora_dir: Path) -> None:
    corpus = goemotions.read(corpora_dir / "goemotions")
    summary = summarise(corpus)
    assert summary["splits"] == {"dev": 5426, "test": 5427, "train": 43410}
    # 83 % of the comments have one label (Demszky et al. 2020).
    assert sum(u.label is None for u in corpus.utterances) / len(corpus.utterances) == pytest.approx(0.17, abs=0.01)
    classes = label_set("emotions4")
    four = [u.split for u in corpus.utterances if classes.class_index(u.label, u.original_label) is not None]
    assert {split: four.count(split) for split in goemotions.SPLITS} == {"train": 29748, "dev": 3702, "test": 3714}
    (fold,) = make_folds(corpus, "split", "emotions4", 0)
    assert (len(fold.train), len(fold.voted)) == (29748, 6549)
    assert find_problems(corpus) == []
