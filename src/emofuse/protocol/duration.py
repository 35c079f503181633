"""A temperature that depends on how much was heard: half a second of a voice tells less than three seconds do.

A network of speech is as sure of a short clip as of a long one, though it is less often right. Its logits are
therefore divided by more the less it has heard; in between the temperature runs straight, and beyond the ends it stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax


@dataclass(frozen=True)
class DurationTemperature:
    """What logits are divided by, see `at`.

    Attributes:
        seconds: (n_knots,) of what was heard, rising.
        temperatures: (n_knots,) there, above 0.
    """

    seconds: tuple[float, ...] = (0.0,)
    temperatures: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Refuse what is no temperature.

        Raises:
            ValueError: No knots, seconds that do not rise, or a temperature that is not above 0.
        """
        if len(self.seconds) != len(self.temperatures) or not self.seconds:
            raise ValueError(f"{len(self.seconds)} durations and {len(self.temperatures)} temperatures, need as many")
        if not (np.isfinite(self.seconds).all() and min(self.seconds) >= 0 and (np.diff(self.seconds) > 0).all()):
            raise ValueError(f"durations are {list(self.seconds)}, need seconds that rise")
        if not (np.isfinite(self.temperatures).all() and min(self.temperatures) > 0):
            raise ValueError(f"temperature is {list(self.temperatures)}, need more than 0")

    @property
    def is_constant(self) -> bool:
        """Whether it is the same however much was heard."""
        return len(set(self.temperatures)) == 1

    def at(self, seconds: float | np.ndarray) -> np.ndarray:
        """The temperature of so many seconds; of any shape."""
        return np.asarray(np.interp(seconds, self.seconds, self.temperatures))


UNCHANGED = DurationTemperature()
"""One everywhere."""


def duration_temperature(given: float | Mapping[str, float]) -> DurationTemperature:
    """What ``fusion.json`` says: a number, or seconds (as text, for it is JSON) to temperatures.

    Raises:
        ValueError: See `DurationTemperature`.
    """
    if not isinstance(given, Mapping):
        return DurationTemperature((0.0,), (float(given),))
    knots = sorted((float(seconds), float(temperature)) for seconds, temperature in given.items())
    return DurationTemperature(tuple(s for s, _ in knots), tuple(t for _, t in knots))


def fit_duration_temperature(
    logits: np.ndarray, y_true: np.ndarray, seconds: np.ndarray, knots: Sequence[float]
) -> DurationTemperature:
    """The temperatures in [0.2, 10] at these knots under which labels are likeliest, every class counting the same.

    Args:
        logits: (n, n_classes), of clips of all durations, on data of a kind that the network was not trained on.
        y_true: (n,) class indices.
        seconds: (n,) that were heard.
        knots: Durations, rising.
    """
    from scipy.optimize import minimize  # takes a quarter of a first prediction's time

    counts = np.bincount(y_true)
    weights = 1 / counts[y_true] / np.count_nonzero(counts)

    def negative_log_likelihood(log_temperatures: np.ndarray) -> float:
        at = np.interp(seconds, knots, np.exp(log_temperatures))
        scaled = log_softmax(logits / at[:, None], axis=1)
        return -float(weights @ scaled[np.arange(len(y_true)), y_true])

    bounds = [(np.log(0.2), np.log(10.0))] * len(knots)
    found = minimize(negative_log_likelihood, np.full(len(knots), np.log(2.0)), bounds=bounds, method="L-BFGS-B")
    return DurationTemperature(tuple(map(float, knots)), tuple(np.exp(found.x).tolist()))
