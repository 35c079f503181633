"""The hidden layer of a trained text CNN, by numpy: a feature of words, wherever torch is not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


@dataclass(frozen=True, eq=False)
class TextHidden:
    """What `emofuse.models.text_cnn.TextCNN.features` gives of one utterance.

    Attributes:
        settings: The network's configuration, as JSON values.
        weights: Its weights, by their names there.
    """

    settings: Mapping[str, Any]
    weights: Mapping[str, np.ndarray]

    @property
    def dim(self) -> int:
        """Size of the vector."""
        return len(self.weights["hidden.bias"])

    def __call__(self, words: np.ndarray) -> np.ndarray:
        """(n_words, word_dim), at least one -> (dim,), non-negative."""
        pooled = []
        for i, kernel in enumerate(self.settings["kernels"]):
            weight, bias = self.weights[f"convs.{i}.weight"], self.weights[f"convs.{i}.bias"]
            padded = np.pad(words, ((kernel - 1, kernel - 1), (0, 0)))
            windows = sliding_window_view(padded, kernel, axis=0)  # (n_words + kernel - 1, word_dim, kernel)
            rows = windows.reshape(len(windows), -1) @ weight.reshape(len(weight), -1).T + bias
            pooled.append(np.maximum(rows, 0).max(axis=0))
        hidden = self.weights["hidden.weight"] @ np.concatenate(pooled) + self.weights["hidden.bias"]
        return np.maximum(hidden, 0).astype(np.float32)
