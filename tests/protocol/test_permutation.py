from collections import Counter
from dataclasses import replace
from pathlib import Path

from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.protocol.benchmark import Plan, Session
from emofuse.protocol.permutation import permute_labels

NAMES = ("angry", "happy", "neutral", "sad", None)


def corpus() -> Corpus:
    rows = [(f"u{i}", NAMES[i % 5]) for i in range(200)]
    return Corpus(
        "c", tuple(Utterance(i, "c", label=y, original_label=y and y[:3], votes=y and {y: 3}) for i, y in rows)
    )


def test_labels_move_and_nothing_else() -> None:
    before = corpus()
    after = permute_labels(before)
    assert Counter(u.label for u in after.utterances) == Counter(u.label for u in before.utterances)
    moved = 0
    for a, b in zip(after.utterances, before.utterances, strict=True):
        assert (a.label is None) == (b.label is None)
        if a.label is not None:
            assert (a.original_label, a.votes) == (a.label[:3], {a.label: 3})
        assert replace(a, label=b.label, original_label=b.original_label, votes=b.votes) == b
        moved += a.label != b.label
    assert moved > 80


def test_votes_without_a_label_are_dealt_too() -> None:
    """They teach, see `other_labels`: left where they are they would tell what the check must not know."""
    rows = [Utterance(f"u{i}", "c", votes={("angry", "sad")[i % 2]: 1, "happy": 1}) for i in range(40)]
    after = permute_labels(Corpus("c", tuple(rows)))
    assert 10 < sum(a.votes != b.votes for a, b in zip(after.utterances, rows, strict=True)) < 30


def test_the_same_every_time() -> None:
    assert permute_labels(corpus()) == permute_labels(corpus())


def test_a_recipe_asks_for_it_and_its_records_are_others(tmp_path: Path, small_recipe) -> None:
    recipe = small_recipe(systems=["text-cnn"], features={"text": {"kind": "words"}})
    asked = recipe.model_copy(update={"permute_labels": True})
    assert asked.fingerprint("dev") != recipe.fingerprint("dev")
    given = Corpus(
        "c", tuple(replace(u, split="train" if i % 3 else "test") for i, u in enumerate(corpus().utterances))
    )
    found = {r.permute_labels: Session(Plan(r, tmp_path, tmp_path, (0,)), given).corpus for r in (recipe, asked)}
    assert found[False] == given
    assert found[True] == permute_labels(given)
