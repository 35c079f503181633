import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emofuse.corpora import mmsa_pickle
from emofuse.errors import DataError


def split(ids: list[str], scores: list[float]) -> dict[str, Any]:
    """One split in the published form, with made-up words and small arrays."""
    made = {name: np.zeros((len(ids), 4, dim)) for name, dim in (("text", 6), ("audio", 3), ("vision", 5))}
    made["audio"][:, 0, 0] = np.arange(len(ids)) + 1
    return {
        **made,
        "id": ids,
        "raw_text": np.array([f"made up {name}" for name in ids]),
        "regression_labels": np.array(scores),
        "classification_labels": np.array([0.0] * len(ids)),
        "annotations": ["x"] * len(ids),
    }


def corpus_dict() -> dict[str, Any]:
    return {
        "train": split(["vid$_$a$_$10", "vid$_$a$_$2", "b$_$1"], [1.4, -0.2, 0.0]),
        "valid": split(["c$_$0001"], [-3.0]),
        "test": split(["d$_$1"], [0.6]),
    }


def write(tmp_path: Path, content: Any) -> Path:
    file = tmp_path / "aligned_50.pkl"
    file.write_bytes(pickle.dumps(content, 4))
    return file


def test_reads_a_replica(tmp_path):
    corpus = mmsa_pickle.read(write(tmp_path, corpus_dict()))
    # Clips of a video are brought into order, by number and not as text; rows stay theirs.
    assert [u.id for u in corpus.utterances] == ["vid$_$a$_$2", "vid$_$a$_$10", "b$_$1", "c$_$0001", "d$_$1"]
    assert [u.label for u in corpus.utterances] == ["negative", "positive", "neutral", "negative", "positive"]
    assert [u.split for u in corpus.utterances] == ["train", "train", "train", "dev", "test"]
    first = corpus.utterances[0]
    assert (first.dialogue, first.index, first.original_label) == ("vid$_$a", 2, "-0.2")
    assert first.text == "made up vid$_$a$_$2"
    assert first.features == {"speech": 1, "visual": 1, "text": 1}
    assert corpus.features["speech"][1, 0, 0] == 2
    assert corpus.utterances[-1].features["speech"] == 4
    assert {name: array.shape for name, array in corpus.features.items()} == {
        "speech": (5, 4, 3),
        "visual": (5, 4, 5),
        "text": (5, 4, 6),
    }
    assert all(array.dtype == np.float32 for array in corpus.features.values())


def test_infinite_audio_becomes_nan(tmp_path):
    content = corpus_dict()
    content["valid"]["audio"][0, 1, 2] = -np.inf
    corpus = mmsa_pickle.read(write(tmp_path, content))
    assert np.argwhere(np.isnan(corpus.features["speech"])).tolist() == [[3, 1, 2]]
    assert np.isfinite(corpus.features["speech"]).sum() == 5 * 4 * 3 - 1
    assert corpus.nan_allowed == ("speech",)


def change(part: str, name: str, value: Any) -> Any:
    def apply(content: dict[str, Any]) -> None:
        content[part][name] = value

    return apply


def not_finite(name: str) -> Any:
    def apply(content: dict[str, Any]) -> None:
        content["train"][name][1] = np.nan

    return apply


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda content: content.pop("valid"), "dict of train, test; need a dict of train, valid, test"),
        (lambda content: content["test"].pop("vision"), "test: dict of text, audio"),
        (change("test", "id", 5), "test: id is a int; need a list or an array"),
        (change("test", "raw_text", []), "test: 0 rows of raw_text; need 1"),
        (change("test", "id", ["no separator"]), "test row 0: id is 'no separator'; need the form video$_$3"),
        (change("test", "id", ["a$_$x"]), "test row 0: id is 'a$_$x'"),
        (change("test", "id", ["b$_$1"]), "utterance b$_$1 appears twice"),
        (change("test", "regression_labels", ["x"]), "test: regression_labels: list of <U1"),
        (change("test", "regression_labels", np.zeros((1, 2))), "test: regression_labels has shape (1, 2)"),
        (change("test", "audio", np.zeros(1)), "test: audio has shape (1,)"),
        (change("test", "audio", np.zeros((1, 9, 3))), "audio has rows of shape (4, 3) and of (9, 3)"),
        (change("test", "audio", np.array([{}], object)), "test: audio: array of object"),
        (not_finite("text"), "train row 1: text of vid$_$a$_$2 holds NaN or infinity"),
        (not_finite("vision"), "train row 1: vision of vid$_$a$_$2 holds NaN or infinity"),
        (not_finite("regression_labels"), "train row 1: regression label of vid$_$a$_$2 is nan"),
    ],
    ids=range(15),
)
def test_contradictions(tmp_path, spoil, said):
    content = corpus_dict()
    spoil(content)
    file = write(tmp_path, content)
    with pytest.raises(DataError) as caught:
        mmsa_pickle.read(file)
    assert str(caught.value).startswith(f"{file}: {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [(1, 2), None, {"train": 1, "valid": 2, "test": 3}])
def test_other_layouts(tmp_path, content):
    with pytest.raises(DataError, match=r"aligned_50\.pkl: .*; need a dict of"):
        mmsa_pickle.read(write(tmp_path, content))
