import numpy as np
import pytest

from emofuse.predictor.fusing import fuse
from emofuse.predictor.part import Judgement

SURE = np.array([0.8, 0.2])
SURER = np.array([0.8**2, 0.2**2]) / (0.8**2 + 0.2**2)  # its logarithms differ twice as far
INDIFFERENT = np.array([0.5, 0.5])


def judged(probabilities: np.ndarray, **weights: float) -> Judgement:
    return Judgement(probabilities, tuple(weights), weights=weights)


def test_one_part_alone_decides_alone() -> None:
    probabilities, weights = fuse([judged(SURE, speech=0.3, text=0.7)], [1.0])
    assert probabilities == pytest.approx(SURE)
    assert weights == pytest.approx({"speech": 0.3, "text": 0.7})


def test_a_part_weighs_as_far_as_it_pushes_and_its_modalities_share_that() -> None:
    probabilities, weights = fuse([judged(SURE, speech=1.0), judged(SURER, text=0.5, visual=0.5)], [1.0, 1.0])
    assert probabilities == pytest.approx(np.array([0.8**3, 0.2**3]) / (0.8**3 + 0.2**3))
    assert weights == pytest.approx({"speech": 1 / 3, "text": 1 / 3, "visual": 1 / 3})


def test_a_part_that_is_indifferent_or_not_believed_weighs_nothing() -> None:
    for other, reliability in ((INDIFFERENT, 1.0), (SURER, 0.0)):
        probabilities, weights = fuse([judged(SURE, speech=1.0), judged(other, text=1.0)], [1.0, reliability])
        assert probabilities == pytest.approx(SURE)
        assert weights == pytest.approx({"speech": 1.0, "text": 0.0})


def test_parts_that_are_all_indifferent_weigh_the_same() -> None:
    _, weights = fuse([judged(INDIFFERENT, speech=1.0), judged(INDIFFERENT, text=1.0)], [1.0, 1.0])
    assert weights == pytest.approx({"speech": 0.5, "text": 0.5})
