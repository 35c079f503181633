"""Fitting a linear system: a support vector machine whose C is chosen as other systems' epochs are."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn.svm import LinearSVC

from emofuse.errors import DataError
from emofuse.example import IGNORE, Example
from emofuse.models.linear import LinearClassifier

C_GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Values of C, the strongest regularisation first; "epoch" k of a linear system is the k-th."""

_NEVER = -1e4  # logit of a class that the training part lacks


def fit_linear(
    model: LinearClassifier,
    train: Sequence[Example],
    score: Callable[[], dict[str, float]] | None,
    *,
    balanced: bool,
    metric: str,
    seed: int,
    n_epochs: int = len(C_GRID),
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> tuple[int, list[dict[str, float]]]:
    """One-against-rest linear SVM with squared hinge loss; of equal scores the smaller C is kept.

    Args:
        model: Its layer gets the weights.
        train: Training examples; those without a label are left out.
        score: Metrics of the model as it is, on what chooses C. None: C is the one numbered `n_epochs`.
        balanced: Weight the rows by inverse class frequency.
        metric: Key of the metrics that chooses.
        seed: Of the solver.
        n_epochs: See `score`.
        on_epoch: Called with an entry a value of C.

    Returns:
        Number of the chosen C, counted from 1, and the history: epoch, loss, C and metrics.
    """
    y = np.array([int(e.labels[0]) for e in train])
    X = np.stack([e.inputs["speech"] for e in train])[y != IGNORE]
    y = y[y != IGNORE]
    if len(set(y.tolist())) < 2:
        raise DataError(f"{len(set(y.tolist()))} class in the training part, a linear system needs two")
    history: list[dict[str, float]] = []
    best_epoch, best_score, best = 0, -1.0, {}
    for epoch in range(1, len(C_GRID) + 1) if score is not None else [min(n_epochs, len(C_GRID))]:
        c = C_GRID[epoch - 1]
        weight, bias, loss = _svm(X, y, model.config.n_classes, c, balanced, seed)
        model.load_state_dict({"output.weight": weight, "output.bias": bias})
        entry = {"epoch": epoch, "loss": loss, "C": c} | (score() if score is not None else {})
        history.append(entry)
        if entry.get(metric, 0.0) > best_score:
            best_epoch, best_score = epoch, entry.get(metric, 0.0)
            best = {"output.weight": weight, "output.bias": bias}
        if on_epoch is not None:
            on_epoch(entry)
    model.load_state_dict(best)
    return best_epoch, history


def _svm(
    X: np.ndarray, y: np.ndarray, n_classes: int, c: float, balanced: bool, seed: int
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """(n_classes, dim) weights, (n_classes,) biases, and the mean squared hinge loss on the training rows."""
    # The dual is the faster problem where there are more features than rows.
    svm = LinearSVC(
        C=c,
        class_weight="balanced" if balanced else None,
        dual=X.shape[1] > X.shape[0],
        max_iter=5000,
        random_state=seed % 2**32,
    ).fit(X, y)
    coef, intercept = np.asarray(svm.coef_), np.asarray(svm.intercept_)
    if len(coef) == 1:  # two classes: one function, positive for the second
        coef, intercept = np.concatenate([-coef, coef]), np.concatenate([-intercept, intercept])
    weight, bias = np.zeros((n_classes, X.shape[1])), np.full(n_classes, _NEVER)
    weight[svm.classes_], bias[svm.classes_] = coef, intercept
    margins = (X @ coef.T + intercept) * np.where(y[:, None] == svm.classes_, 1, -1)
    loss = float(np.mean(np.maximum(0, 1 - margins) ** 2))
    return torch.from_numpy(weight).float(), torch.from_numpy(bias).float(), loss
