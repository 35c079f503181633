"""A projection of feature vectors that is fitted on training rows and stored with the model."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from emofuse.errors import DataError


@dataclass(frozen=True, eq=False)
class Projection:
    """Standardisation by training statistics, then a linear map: ``z = ((x - mean) / scale) C^T``.

    Attributes:
        mean: float64 ``(dim,)``, of the training rows.
        scale: float64 ``(dim,)``, positive; standard deviation of the training rows, 1 where constant.
        components: float64 ``(k, dim)``, rows are principal axes; None leaves the columns as they are.
    """

    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray | None = None

    @property
    def dim(self) -> int:
        """Columns of the result: k, or dim without components."""
        return len(self.mean) if self.components is None else len(self.components)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Project rows; NaN counts as the training mean.

        Args:
            X: ``(..., dim)``.

        Returns:
            float32 ``(..., k)``.

        Raises:
            DataError: Another number of columns than was fitted, or infinite values.
        """
        if X.ndim == 0 or X.shape[-1] != len(self.mean):
            raise DataError(f"features of shape {X.shape}, but the projection was fitted on (n_rows, {len(self.mean)})")
        _refuse_infinite(X)
        Z = np.nan_to_num((X - self.mean) / self.scale, nan=0.0)
        return (Z if self.components is None else Z @ self.components.T).astype(np.float32)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Named arrays for a checkpoint."""
        arrays = {"mean": self.mean, "scale": self.scale}
        return arrays if self.components is None else {**arrays, "components": self.components}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Projection":
        """The projection that `to_arrays` gave.

        Raises:
            DataError: An array is missing or the shapes do not fit each other.
        """
        if missing := {"mean", "scale"} - arrays.keys():
            raise DataError(f"projection without {', '.join(sorted(missing))}")
        mean, scale, components = arrays["mean"], arrays["scale"], arrays.get("components")
        fits = components is None or (components.ndim == 2 and components.shape[1:] == mean.shape)
        if mean.ndim != 1 or scale.shape != mean.shape or not fits:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise DataError(f"projection arrays do not fit each other: {shapes}")
        return cls(mean, scale, components)


def fit_projection(X: np.ndarray, n_components: int | None = None) -> Projection:
    """Fit a projection on training rows only.

    Args:
        X: ``(n_rows, dim)``; NaN (could not be measured) is imputed by the column's mean.
        n_components: Keep that many principal components of the standardised columns; None, or no
            fewer than dim, keeps the columns.

    Raises:
        DataError: No rows, not two-dimensional, infinite values, or fewer rows than components.
    """
    if X.ndim != 2 or 0 in X.shape:
        raise DataError(f"training features of shape {X.shape}, need (n_rows, dim)")
    if n_components is not None and n_components < 1:
        raise DataError(f"{n_components} components, need at least 1")
    _refuse_infinite(X)
    X = X.astype(np.float64, copy=False)
    n_measured = np.maximum(np.isfinite(X).sum(axis=0), 1)
    mean = np.nansum(X, axis=0) / n_measured
    std = np.sqrt(np.nansum((X - mean) ** 2, axis=0) / n_measured)
    # Features are float32: a spread below their resolution is a constant column with rounding noise.
    resolution = np.maximum(np.finfo(np.float32).eps * np.abs(mean), np.finfo(np.float32).tiny)
    scale = np.where(std <= resolution, 1.0, std)
    if n_components is None or n_components >= X.shape[1]:
        return Projection(mean, scale)
    if len(X) < n_components:
        raise DataError(f"{len(X)} training rows, need at least {n_components} for {n_components} components")
    Z = np.nan_to_num((X - mean) / scale, nan=0.0)
    # Z has zero mean, also after imputation, so the map needs no offset. The seed is for the
    # randomised solver that scikit-learn takes for wide features.
    from sklearn.decomposition import PCA  # takes a second, which whoever only predicts need not wait

    return Projection(mean, scale, PCA(n_components, random_state=0).fit(Z).components_)


def _refuse_infinite(X: np.ndarray) -> None:
    infinite = np.isinf(X)
    if infinite.any():
        column = int(np.argwhere(infinite)[0][-1])
        raise DataError(f"features of shape {X.shape} hold infinite values, first in column {column}")
