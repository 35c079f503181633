"""Utterances that have votes and no label are trained on where the recipe asks for it, and nowhere else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import DataError
from emofuse.example import Example
from emofuse.protocol.benchmark import Plan, Session
from emofuse.protocol.recipe import Recipe
from emofuse.protocol.train import fit

WORDS = {"happy": "great", "sad": "lost", "angry": "rotten"}


def corpus(with_votes: bool = True) -> Corpus:
    rows = [
        Utterance(f"{split}{i}", "manifest", label, split=split, text=word)
        for split in ("train", "dev", "test")
        for i, (label, word) in enumerate(WORDS.items())
    ]
    votes = {"happy": 1, "sad": 1}
    voted = [
        Utterance(f"{s}-both", "manifest", None, split=s, text="great lost", votes=votes) for s in ("train", "dev")
    ]
    return Corpus("manifest", (*rows, *voted) if with_votes else tuple(rows))


def session(folder: Path, data: Corpus, other_labels: str) -> Session:
    recipe = {
        "name": "r", "paper": "p", "command": "c", "expected": "e", "corpus": "manifest", "protocol": "split",
        "labels": "emotions4", "other_labels": other_labels, "systems": ["cma-text"],
        "features": {"text": {"kind": "words", "vocabulary_size": 1}}, "model": {"d_model": 10, "n_blocks": 1},
        "training": {"max_epochs": 1, "soft_votes": True},
    }  # fmt: skip
    return Session(Plan(Recipe.model_validate(recipe), folder, folder, (0,), device="cpu"), data)


@pytest.mark.parametrize("other_labels", ["votes", "drop"])
def test_they_teach_and_neither_select_nor_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_labels: str
) -> None:
    seen: dict[str, Sequence[Example]] = {}

    def spy(model: Any, train: Sequence[Example], select: Sequence[Example], **more: Any) -> Any:
        seen.update(train=train, select=select)
        return fit(model, train, select, **more)

    monkeypatch.setattr("emofuse.protocol.stages.fit", spy)
    run = session(tmp_path, corpus(), other_labels).fold_run(0, 0)
    done = run.train("cma-text")
    votes = {e.ids[0]: e.votes.tolist() for e in seen["train"] if e.votes is not None}
    # angry, happy, neutral, sad; those with a label have one vote for it
    alone = {"train0": [[0, 1, 0, 0]], "train1": [[0, 0, 0, 1]], "train2": [[1, 0, 0, 0]]}
    assert votes == (alone | {"train-both": [[0, 0.5, 0, 0.5]]} if other_labels == "votes" else alone)
    assert [e.ids[0] for e in seen["select"]] == ["dev0", "dev1", "dev2"]
    assert run.test("cma-text", done).ids == ("test0", "test1", "test2")


def test_a_corpus_without_them_is_refused(tmp_path: Path) -> None:
    message = 'manifest: other_labels = "votes", but all training utterances with votes have a label'
    with pytest.raises(DataError, match=message):
        session(tmp_path, corpus(with_votes=False), "votes").fold_run(0, 0)
