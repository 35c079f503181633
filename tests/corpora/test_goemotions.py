from pathlib import Path

import pytest

from emofuse.corpora import goemotions
from emofuse.corpora.check import find_problems, summarise
from emofuse.errors import DataError


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


@pytest.mark.corpora
def test_real_goemotions(corpora_dir: Path) -> None:
    corpus = goemotions.read(corpora_dir / "goemotions")
    summary = summarise(corpus)
    assert summary["splits"] == {"dev": 5426, "test": 5427, "train": 43410}
    # 83 % of the comments have one label (Demszky et al. 2020).
    assert sum(u.label is None for u in corpus.utterances) / len(corpus.utterances) == pytest.approx(0.17, abs=0.01)
    assert find_problems(corpus) == []
