import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emofuse.errors import DataError
from emofuse.protocol.metrics import (
    compute_metrics,
    confusion,
    expected_calibration_error,
    f1_macro,
    f1_weighted,
    recalls,
    reliability_diagram,
    unweighted_accuracy,
    weighted_accuracy,
)

# class 0: 3 of 4 right; class 1: 1 of 2; class 2: absent but predicted once
TRUE = np.array([0, 0, 0, 0, 1, 1])
PRED = np.array([0, 0, 0, 1, 1, 2])


def test_hand_worked():
    np.testing.assert_array_equal(confusion(TRUE, PRED, 3), [[3, 1, 0], [0, 1, 1], [0, 0, 0]])
    assert weighted_accuracy(TRUE, PRED) == pytest.approx(4 / 6)
    assert unweighted_accuracy(TRUE, PRED) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert recalls(TRUE, PRED, 3) == [0.75, 0.5, None]
    # F1 = 2 right / (true + predicted)
    assert f1_macro(TRUE, PRED) == pytest.approx((6 / 7 + 2 / 4) / 2)
    assert f1_weighted(TRUE, PRED) == pytest.approx((4 * 6 / 7 + 2 * 2 / 4) / 6)


def test_wa_and_ua_of_always_the_majority():
    # Pan et al., Table 1: Session 5 has 442 happy, 627 sad, 384 neutral, 170 angry utterances
    y_true = np.repeat([0, 1, 2, 3], [442, 627, 384, 170])
    majority = np.ones_like(y_true)
    assert weighted_accuracy(y_true, majority) == pytest.approx(0.386, abs=5e-4)
    assert unweighted_accuracy(y_true, majority) == 0.25


def test_expected_calibration_error_by_hand():
    # bin (0.8, 0.9]: confidence 0.9, 1 of 2 right; bin (0.5, 0.6]: confidence 0.6, right
    y_prob = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    expected = 2 / 3 * abs(0.5 - 0.9) + 1 / 3 * abs(1 - 0.6)
    assert expected_calibration_error(np.array([0, 1, 1]), y_prob, n_bins=10) == pytest.approx(expected)
    assert expected_calibration_error(np.array([0]), np.array([[1.0, 0.0]])) == 0


@settings(deadline=None, max_examples=25)  # scikit-learn's first call imports
@given(st.integers(0, 10_000))
def test_calibration_error_equals_the_sum_over_bins(seed):
    rng = np.random.default_rng(seed)
    y_true, y_prob = rng.integers(0, 3, 50), rng.dirichlet(np.ones(3), 50)
    confidence, right = y_prob.max(axis=1), y_prob.argmax(axis=1) == y_true
    total = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(y_true, y_prob) == pytest.approx(total)


@settings(deadline=None, max_examples=25)  # scikit-learn's first call imports
@given(st.integers(0, 10_000))
def test_the_order_of_rows_and_the_names_of_classes_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    y_true, y_prob = rng.integers(0, 4, 30), rng.dirichlet(np.ones(4), 30)
    rows, classes = rng.permutation(30), rng.permutation(4)
    renamed = compute_metrics(classes[y_true[rows]], y_prob[rows][:, np.argsort(classes)])
    assert renamed == pytest.approx(compute_metrics(y_true, y_prob))


def test_perfect_predictions():
    y_true = np.array([0, 1, 2, 1])
    assert compute_metrics(y_true, np.eye(3)[y_true]) == {"wa": 1, "ua": 1, "f1_macro": 1, "f1_weighted": 1, "ece": 0}


@pytest.mark.parametrize(
    ("y_true", "y_prob", "message"),
    [
        ([0, 1], [[0.5, 0.5]], r"labels \(2,\) and probabilities \(1, 2\); need"),
        ([], np.zeros((0, 2)), r"labels \(0,\) and probabilities \(0, 2\); need"),
        ([[0]], [[0.5, 0.5]], r"labels \(1, 1\) and"),
        ([0, 2], [[0.5, 0.5]] * 2, "labels from 0 to 2, but there are 2 classes"),
        ([0, -1], [[0.5, 0.5]] * 2, "labels from -1 to 0, but there are 2 classes"),
        ([0, 1], [[0.5, 0.5], [np.nan, 1]], "1 of 2 predictions are NaN"),
        ([0], [[2.0, 1.0]], "predictions are not probabilities"),
        ([0], [[1.5, -0.5]], "predictions are not probabilities"),
        ([0], [[np.inf, 0]], "predictions are not probabilities"),
    ],
)
def test_bad_input(y_true, y_prob, message):
    with pytest.raises(DataError, match=message):
        compute_metrics(np.array(y_true, dtype=int), np.array(y_prob))


def test_a_reliability_diagram_by_hand():
    y_true = np.array([0, 0, 1, 1])
    y_prob = np.array([[0.95, 0.05], [0.91, 0.09], [0.55, 0.45], [0.4, 0.6]])
    low, high = reliability_diagram(y_true, y_prob)  # bins from 0.5 to 0.6 and from 0.9 to 1; empty ones are left out
    assert low == pytest.approx({"n": 2, "confidence": 0.575, "accuracy": 0.5})
    assert high == pytest.approx({"n": 2, "confidence": 0.93, "accuracy": 1.0})
