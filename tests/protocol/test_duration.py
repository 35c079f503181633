"""A temperature by duration: knots, what JSON may say, and that a fit finds what made the data."""

import numpy as np
import pytest
from scipy.special import softmax

from emofuse.protocol.duration import (
    UNCHANGED,
    DurationTemperature,
    duration_temperature,
    fit_duration_temperature,
)


def test_it_runs_straight_between_its_knots_and_stays_beyond_them() -> None:
    temperature = DurationTemperature((0.5, 1.5), (4.0, 2.0))
    np.testing.assert_allclose(temperature.at(np.array([0.0, 0.5, 0.75, 1.5, np.inf])), [4, 4, 3.5, 2, 2])
    assert not temperature.is_constant


def test_a_number_is_the_same_for_every_duration() -> None:
    temperature = duration_temperature(2.4)
    assert temperature.is_constant
    assert temperature.at(0.1) == temperature.at(np.inf) == 2.4
    assert UNCHANGED.at(3.0) == 1


def test_seconds_of_json_are_numbers_not_text() -> None:
    assert duration_temperature({"10": 1.5, "2": 3}) == DurationTemperature((2.0, 10.0), (3.0, 1.5))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0, "need more than 0"),
        (float("nan"), "need more than 0"),
        ({}, "0 durations"),
        ({"0.5": -1}, "need more than 0"),
        ({"-1": 2}, "need seconds that rise"),
        ({"1": 2, "1.0": 3}, "need seconds that rise"),
        ({"soon": 2}, "could not convert"),
    ],
)
def test_what_is_no_temperature_is_refused(given, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        duration_temperature(given)


def test_the_fit_finds_the_temperatures_that_drew_the_labels() -> None:
    rng = np.random.default_rng(0)
    n, truth = 60_000, DurationTemperature((0.5, 2.0), (4.0, 1.5))
    seconds = rng.uniform(0.2, 3.0, n)
    logits = rng.normal(0, 4, (n, 3))
    p = softmax(logits / truth.at(seconds)[:, None], axis=1)
    y_true = (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1)
    found = fit_duration_temperature(logits, y_true, seconds, (0.5, 2.0))
    np.testing.assert_allclose(found.temperatures, truth.temperatures, rtol=0.06)


def test_in_the_fit_every_class_counts_the_same() -> None:
    rng = np.random.default_rng(1)
    logits, y_true, seconds = rng.normal(0, 3, (200, 2)), rng.integers(0, 2, 200), rng.uniform(0, 3, 200)
    again = np.concatenate([np.arange(200), *[np.flatnonzero(y_true == 0)] * 9])
    once = fit_duration_temperature(logits, y_true, seconds, (1.0,))
    often = fit_duration_temperature(logits[again], y_true[again], seconds[again], (1.0,))
    np.testing.assert_allclose(often.temperatures, once.temperatures, rtol=1e-3)
