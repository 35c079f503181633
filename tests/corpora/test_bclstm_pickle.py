import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emofuse.corpora import bclstm_pickle
from emofuse.corpora.bclstm_pickle import FIELDS
from emofuse.errors import DataError

ONE, TWO = ("Ses01" + "F_impro01", "Ses05" + "M_script01_1")
SIZES = {"videoText": 100, "videoAudio": 100, "videoVisual": 512}


def fields() -> dict[str, Any]:
    """The nine fields for two made-up dialogues, of six and of two utterances."""
    ids = {ONE: [f"{ONE}_{'FM'[i % 2]}{i:03}" for i in range(6)], TWO: [f"{TWO}_M000", f"{TWO}_F000"]}
    made: dict[str, Any] = {"videoIDs": ids, "trainVid": {ONE}, "testVid": {TWO}}
    made["videoSpeakers"] = {ONE: list("FMFMFM"), TWO: ["M", "F"]}
    made["videoLabels"] = {ONE: [0, 1, 2, 3, 4, 5], TWO: [2, 3]}
    made["videoSentence"] = {d: [f"Made up {i}." for i in range(len(ids[d]))] for d in ids}
    for name, size in SIZES.items():
        made[name] = {d: [np.full(size, 10 * len(d) + i, np.float32) for i in range(len(ids[d]))] for d in ids}
    return made


def write(tmp_path: Path, made: dict[str, Any], protocol: int = 2) -> Path:
    file = tmp_path / "IEMOCAP_features.pkl"
    file.write_bytes(pickle.dumps(tuple(made[name] for name in FIELDS), protocol))
    return file


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_reads_a_replica(tmp_path, protocol):
    made = fields()
    corpus = bclstm_pickle.read(write(tmp_path, made, protocol))
    assert [u.id for u in corpus.utterances] == [*made["videoIDs"][ONE], *made["videoIDs"][TWO]]
    assert [u.label for u in corpus.utterances[:6]] == ["happy", "sad", "neutral", "angry", "excited", "frustrated"]
    assert [u.original_label for u in corpus.utterances[:6]] == ["hap", "sad", "neu", "ang", "exc", "fru"]
    second, last = corpus.utterances[1], corpus.utterances[7]
    assert (second.speaker, second.sex, second.session, second.split) == ("Ses01M", "male", "Ses01", "train")
    assert (last.speaker, last.index, last.split, last.text) == ("Ses05F", 1, "test", "Made up 1.")
    assert last.features == {"speech": 7, "visual": 7, "text": 7}
    assert {name: array.shape for name, array in corpus.features.items()} == {
        "speech": (8, 100),
        "visual": (8, 512),
        "text": (8, 100),
    }
    assert all(array.dtype == np.float32 and type(array) is np.ndarray for array in corpus.features.values())
    assert corpus.features["speech"][1, 0] == 10 * len(ONE) + 1


def test_lists_of_splits_and_arrays_of_features(tmp_path):
    made = fields() | {"trainVid": [ONE], "testVid": []}
    made["videoAudio"] = {d: np.stack(vectors) for d, vectors in made["videoAudio"].items()}
    corpus = bclstm_pickle.read(write(tmp_path, made))
    assert [u.split for u in corpus.utterances] == ["train"] * 6 + [None] * 2
    assert corpus.features["speech"].shape == (8, 100)


def change(name: str, dialogue: str, value: Any) -> Any:
    def apply(made: dict[str, Any]) -> None:
        made[name][dialogue] = value

    return apply


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda made: made["testVid"].add(ONE), f"dialogue {ONE} is in trainVid and in testVid"),
        (lambda made: made["testVid"].add("gone"), "dialogue gone of trainVid or testVid is not in videoIDs"),
        (lambda made: made.update(trainVid=5), "trainVid is a int; need a list or set"),
        (lambda made: made.update(videoText=[1]), "videoText is a list; need a dict"),
        (lambda made: made.update(videoIDs={}), "videoIDs is empty"),
        (lambda made: made["videoLabels"].pop(TWO), f"dialogue {TWO}: videoLabels is a NoneType"),
        (change("videoLabels", TWO, [1]), f"dialogue {TWO}: videoLabels has 1 values; need 2"),
        (change("videoLabels", TWO, [1, 6]), f"utterance {TWO}_F000: label is 6; need 0 to 5"),
        (change("videoLabels", TWO, [1, "sad"]), f"utterance {TWO}_F000: label is 'sad'"),
        (change("videoSpeakers", TWO, ["M", "x"]), f"utterance {TWO}_F000: speaker is 'x'"),
        (change("videoSpeakers", TWO, ["M", ["F"]]), f"utterance {TWO}_F000: speaker is ['F']"),
        (change("videoAudio", TWO, [np.zeros(100)]), f"dialogue {TWO}: videoAudio has 1 values; need 2"),
        (change("videoAudio", TWO, [0.0, 1.0]), f"dialogue {TWO}: videoAudio has shape (2,)"),
        (change("videoAudio", TWO, [np.zeros(100), np.zeros(9)]), f"dialogue {TWO}: videoAudio: parts of different"),
        (change("videoAudio", TWO, [np.zeros(9), np.zeros(9)]), "videoAudio has vectors of 9 and of 100 numbers"),
        (change("videoText", TWO, [["a"], ["b"]]), f"dialogue {TWO}: videoText: list of <U1"),
        (
            change("videoVisual", TWO, [np.zeros(512), np.full(512, np.nan)]),
            f"utterance {TWO}_F000: videoVisual holds NaN or infinity",
        ),
        (change("videoIDs", TWO, [f"{TWO}_M000"] * 2), f"utterance {TWO}_M000 appears twice"),
    ],
    ids=range(18),
)
def test_contradictions(tmp_path, spoil, said):
    made = fields()
    spoil(made)
    file = write(tmp_path, made)
    with pytest.raises(DataError) as caught:
        bclstm_pickle.read(file)
    assert str(caught.value).startswith(f"{file}: {said}")
    assert "\n" not in str(caught.value)


def test_dialogues_of_another_corpus(tmp_path):
    made = {name: {0: value[ONE]} if isinstance(value, dict) else set() for name, value in fields().items()}
    with pytest.raises(DataError, match="dialogue '0'; need the form Ses01F_impro01"):
        bclstm_pickle.read(write(tmp_path, made))


@pytest.mark.parametrize("content", [{}, (1, 2), 5, None, (0,) * 10])
def test_other_layouts(tmp_path, content):
    file = tmp_path / "other.pkl"
    file.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=r"other\.pkl: .*; need the tuple of 9: videoIDs|videoIDs is a int"):
        bclstm_pickle.read(file)
