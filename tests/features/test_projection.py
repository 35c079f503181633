import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emofuse.errors import DataError
from emofuse.features.projection import Projection, fit_projection


def test_hand_worked_standardisation():
    # column 0: 1, 3 -> mean 2, deviation 1; column 1 is constant; column 2 holds one measured value
    projection = fit_projection(np.array([[1.0, 5.0, np.nan], [3.0, 5.0, 4.0]]))
    np.testing.assert_array_equal(projection.mean, [2, 5, 4])
    np.testing.assert_array_equal(projection.scale, [1, 1, 1])
    Z = projection.transform(np.array([[4.0, 7.0, np.nan]]))
    assert Z.dtype == np.float32
    np.testing.assert_array_equal(Z, [[2, 2, 0]])


def test_a_column_that_was_never_measured_is_zero():
    projection = fit_projection(np.array([[np.nan, 1.0], [np.nan, 2.0]]))
    np.testing.assert_array_equal(projection.transform(np.array([[np.nan, 1.5]])), [[0, 0]])


def test_rounding_noise_of_a_constant_column_is_not_blown_up():
    column = np.full(100, 0.1)
    column[::2] = np.nextafter(0.1, 1)
    projection = fit_projection(column[:, None])
    assert projection.scale == 1
    assert np.abs(projection.transform(column[:, None])).max() < 1e-6


@given(arrays(np.float64, (7, 3), elements=st.floats(-1e3, 1e3)))
def test_training_rows_become_mean_0_and_deviation_0_or_1(X):
    Z = fit_projection(X).transform(X).astype(np.float64)
    np.testing.assert_allclose(Z.mean(axis=0), 0, atol=1e-3)
    deviation = Z.std(axis=0)
    assert (np.isclose(deviation, 1, atol=1e-3) | (deviation < 1e-3)).all()


@pytest.mark.parametrize("dim", [20, 600])  # exact and randomised solver of scikit-learn
def test_principal_components_match_the_singular_vectors(dim):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3)) @ (10 * rng.normal(size=(3, dim))) + 0.1 * rng.normal(size=(60, dim))
    projection = fit_projection(X, 3)
    assert projection.dim == 3
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    _, _, Vt = np.linalg.svd(Z, full_matrices=False)
    np.testing.assert_allclose(np.abs(projection.transform(X)), np.abs(Z @ Vt[:3].T), rtol=1e-2, atol=1e-2)
    again = fit_projection(X, 3)
    np.testing.assert_array_equal(projection.components, again.components)


def test_no_fewer_components_than_columns_keeps_the_columns():
    projection = fit_projection(np.eye(3), 3)
    assert projection.components is None
    assert projection.dim == 3


def test_sequences_are_projected_row_by_row():
    X = np.random.default_rng(0).normal(size=(12, 4))
    projection = fit_projection(X, 2)
    np.testing.assert_array_equal(projection.transform(X.reshape(3, 4, 4)).reshape(12, 2), projection.transform(X))


@pytest.mark.parametrize("n_components", [None, 2])
def test_arrays_round_trip(n_components):
    X = np.random.default_rng(0).normal(size=(12, 4))
    projection = fit_projection(X, n_components)
    again = Projection.from_arrays(projection.to_arrays())
    np.testing.assert_array_equal(again.transform(X), projection.transform(X))


def test_bad_input():
    projection = fit_projection(np.eye(3))
    expected = r"features of shape \(2, 5\), but the projection was fitted on \(n_rows, 3\)"
    with pytest.raises(DataError, match=expected):
        projection.transform(np.zeros((2, 5)))
    expected = r"features of shape \(1, 3\) hold infinite values, first in column 1"
    with pytest.raises(DataError, match=expected):
        projection.transform(np.array([[0, np.inf, 0]]))
    with pytest.raises(DataError, match="hold infinite values, first in column 0"):
        fit_projection(np.array([[-np.inf], [1.0]]))
    with pytest.raises(DataError, match=r"training features of shape \(0, 3\), need \(n_rows, dim\)"):
        fit_projection(np.zeros((0, 3)))
    with pytest.raises(DataError, match="2 training rows, need at least 3 for 3 components"):
        fit_projection(np.zeros((2, 5)), 3)
    with pytest.raises(DataError, match="0 components, need at least 1"):
        fit_projection(np.zeros((2, 5)), 0)
    with pytest.raises(DataError, match="projection without scale"):
        Projection.from_arrays({"mean": np.zeros(3)})
    with pytest.raises(DataError, match=r"do not fit each other: mean \(3,\), scale \(2,\)"):
        Projection.from_arrays({"mean": np.zeros(3), "scale": np.ones(2)})
