from pathlib import Path

import pytest

from emofuse.corpora import meld
from emofuse.errors import DataError

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"


def row(dialogue: int, utterance: int, text: str = "Made up.", **changes: str) -> str:
    cells = {"emotion": "joy", "start": "00:16:16,059", "end": "00:16:21,871"} | changes
    times = f'"{cells["start"]}","{cells["end"]}"'
    return f'1,"{text}",Ann,{cells["emotion"]},positive,{dialogue},{utterance},8,21,{times}\n'


def write_release(root: Path, train: str, dev: str = "", test: str = "") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for split, rows in {"train": train, "dev": dev or row(0, 0), "test": test or row(0, 0)}.items():
        (root / f"{split}_sent_emo.csv").write_text(HEADER + rows, encoding="utf-8")
    return root


def test_reads_a_replica(tmp_path):
    write_release(tmp_path, row(0, 1, emotion="anger") + row(0, 0, emotion="surprise"), dev=row(0, 0, emotion="fear"))
    corpus = meld.read(tmp_path)
    first, second, dev, test = corpus.utterances
    assert [u.id for u in corpus.utterances] == [
        *("train_dia0_utt0", "train_dia0_utt1", "dev_dia0_utt0", "test_dia0_utt0"),
    ]
    # Dialogue 0 is there in every split, and is another one in each.
    assert [first.dialogue, dev.dialogue, test.dialogue] == ["train-dia0", "dev-dia0", "test-dia0"]
    assert [first.label, second.label, dev.label, test.label] == ["surprised", "angry", "fearful", "happy"]
    assert [first.index, second.index] == [0, 1]
    assert (first.speaker, first.split, first.original_label) == ("Ann", "train", "surprise")
    assert first.start_s == pytest.approx(976.059)
    assert first.end_s == pytest.approx(981.871)
    assert first.audio is None


def test_clips_and_the_two_broken_ones(tmp_path):
    write_release(
        tmp_path / "data" / "MELD",
        train=row(125, 2) + row(125, 3) + row(110, 7),
        dev=row(110, 7) + row(125, 3),
    )
    for folder in ("train_splits", "dev_splits_complete"):
        (tmp_path / folder).mkdir()
    clips = {u.id: u.audio for u in meld.read(tmp_path).utterances}
    assert clips["train_dia125_utt2"] == tmp_path / "train_splits" / "dia125_utt2.mp4"
    assert clips["train_dia110_utt7"] == tmp_path / "train_splits" / "dia110_utt7.mp4"
    assert clips["dev_dia125_utt3"] == tmp_path / "dev_splits_complete" / "dia125_utt3.mp4"
    assert clips["train_dia125_utt3"] is None
    assert clips["dev_dia110_utt7"] is None
    assert clips["test_dia0_utt0"] is None
    assert all(u.video == u.audio for u in meld.read(tmp_path).utterances)


@pytest.mark.parametrize(
    ("broken", "right"),
    [
        ("It\x92s \x93fine\x94 \x97 is it\x85", "It’s “fine” — is it…"),
        ("It\u00e2\u20ac\u2122s", "It’s"),
        ("It\u00e2\u20ac\u2122s \x92", "It\u00e2\u20ac\u2122s ’"),
        ("plain café", "plain café"),
        ("gone\x81", "gone"),
    ],
)
def test_broken_quotes_are_mended(tmp_path, broken, right):
    assert meld.repair(broken) == right
    write_release(tmp_path, row(0, 0, text=broken))
    assert meld.read(tmp_path).utterances[0].text == right


def test_a_cp1252_table(tmp_path):
    write_release(tmp_path, row(0, 0))
    (tmp_path / "train_sent_emo.csv").write_bytes((HEADER + row(0, 0, text="It’s")).encode("cp1252"))
    assert meld.read(tmp_path).utterances[0].text == "It’s"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (row(0, 1, emotion="happy"), "Emotion is 'happy'; known: anger"),
        (row(0, 1, start="16:16"), "StartTime is '16:16'; need the form 00:16:16,059"),
        (row(0, 1).replace(",0,1,8", ",x,1,8"), "Dialogue_ID is 'x'"),
    ],
)
def test_bad_rows(tmp_path, bad, said):
    write_release(tmp_path, row(0, 0) + bad)
    with pytest.raises(DataError) as caught:
        meld.read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'train_sent_emo.csv'}: row 3: {said}")
    assert "\n" not in str(caught.value)


def test_repeated_utterance_and_missing_table(tmp_path):
    write_release(tmp_path, row(0, 0) + row(0, 0))
    with pytest.raises(DataError, match="train_dia0_utt0 appears twice"):
        meld.read(tmp_path)
    (tmp_path / "dev_sent_emo.csv").unlink()
    with pytest.raises(DataError, match=r"dev_sent_emo\.csv: no such file"):
        meld.read(tmp_path)
