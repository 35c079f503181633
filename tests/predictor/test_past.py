"""A conversation judged utterance by utterance, with what is kept of its past, is the conversation judged whole."""

import numpy as np
import pytest
import torch

from emofuse.checkpoint import Checkpoint
from emofuse.models import build, make_config
from emofuse.predictor import past
from emofuse.predictor.part import Part
from emofuse.predictor.past import Past
from emofuse.protocol.feature import FeatureConfig
from emofuse.protocol.fitted import FittedFeature, feature_state

SPEAKERS = ["a", None, "b", "a", "a", "b", "c", "a"]


@pytest.fixture(autouse=True)
def vectors_of_four(monkeypatch):
    monkeypatch.setattr(FittedFeature, "absent", np.zeros(4, np.float32))


def part(name: str, relative: bool = False, **settings) -> Part:
    """A contextual system over two features of 4 numbers."""
    torch.manual_seed(0)
    dims = dict.fromkeys(("speech", "text"), 8 if relative else 4)
    config = make_config(name, n_classes=2, feature_dims=dims, **settings)
    meta, _ = feature_state(FittedFeature(FeatureConfig(kind="text-cnn", relative=relative)))
    metas = {"speech": meta, "text": meta}
    return Part(Checkpoint(name, config, build(name, config).eval(), ("angry", "happy"), metas, {}).trained(), name)


def observed(n: int = 8) -> list[dict[str, np.ndarray] | None]:
    rng = np.random.default_rng(0)
    rows = [{m: rng.normal(size=4).astype(np.float32) for m in ("speech", "text")} for _ in range(n)]
    return [None if i == 3 else {"text": row["text"]} if i == 4 else row for i, row in enumerate(rows)]


def one_by_one(p: Part, given, speakers) -> np.ndarray:
    so_far, found = Past(), []
    for o, s in zip(given, speakers, strict=True):
        found += p.conclude([o], [s], so_far)
    return np.array([j.probabilities for j in found if j is not None])


def whole(p: Part, given, speakers) -> np.ndarray:
    return np.array([j.probabilities for j in p.conclude(given, speakers) if j is not None])


@pytest.mark.parametrize("name", ["clstm-ef", "clstm-lf", "mman", "sc-lstm", "alignment-past", "mult-past"])
def test_utterance_by_utterance_is_the_whole(name):
    p = part(name)
    np.testing.assert_allclose(one_by_one(p, observed(), SPEAKERS), whole(p, observed(), SPEAKERS), atol=1e-6)


@pytest.mark.parametrize("settings", [{"turns": True}, {"relative": True}, {"turns": True, "context": "none"}])
def test_who_has_spoken_is_kept_too(settings):
    p = part("clstm-ef", **settings)
    found = one_by_one(p, observed(), SPEAKERS)
    np.testing.assert_allclose(found, whole(p, observed(), SPEAKERS), atol=1e-6)
    assert not np.allclose(found, one_by_one(p, observed(), [None] * 8), atol=1e-5)


def test_weights_of_modalities_are_those_of_the_whole():
    p, so_far = part("mman"), Past()
    found = [p.conclude([o], [None], so_far)[0] for o in observed()]
    for a, b in zip(found, p.conclude(observed()), strict=True):
        assert (a and a.weights) == (b and pytest.approx(b.weights))


def test_both_directions_see_no_future_and_a_bounded_past(monkeypatch):
    p, given = part("mman", context="both"), observed()
    found = one_by_one(p, given, [None] * 8)
    ends = [p.conclude(given[: i + 1])[-1] for i in range(8)]
    np.testing.assert_allclose(found, [j.probabilities for j in ends if j is not None], atol=1e-6)
    monkeypatch.setattr(past, "WINDOW", 2)
    last = one_by_one(p, given, [None] * 8)[-1]
    expected = p.conclude(given[-3:])[-1]
    assert expected is not None
    np.testing.assert_allclose(last, expected.probabilities, atol=1e-6)
    assert not np.allclose(last, found[-1], atol=1e-6)


@pytest.mark.parametrize("name", ["mman", "mult-past"])
def test_a_copy_of_the_past_goes_on_by_itself(name):
    p, (a, b, c) = part(name, **({"turns": True} if name == "mman" else {})), observed()[:3]
    so_far = Past()
    p.conclude([a], ["x"], so_far)
    kept = so_far.copy()
    p.conclude([b], ["y"], so_far)
    (first,), (again,) = p.conclude([c], ["x"], kept.copy()), p.conclude([c], ["x"], kept.copy())
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    (expected,) = p.conclude([a, c], ["x", "x"])[1:]
    assert expected is not None
    np.testing.assert_allclose(first.probabilities, expected.probabilities, atol=1e-6)


def test_the_cost_does_not_grow():
    p, so_far = part("mman"), Past()
    for o in observed() * 20:
        p.conclude([o], [None], so_far)
    assert len(so_far.window) == 0
    assert {h.shape[1] for h, _ in so_far.memory.values()} == {1}
