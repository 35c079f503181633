import numpy as np
import pytest
from matplotlib.container import BarContainer
from scipy.special import log_softmax, softmax

from emofuse.protocol.calibration import fit_temperature, reliability_figure


def drawn(n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that are drawn from exactly their probabilities."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(n, 3))
    chances = softmax(logits, axis=1).cumsum(axis=1)
    return logits, (rng.random((n, 1)) > chances[:, :2]).sum(axis=1)


def test_overconfident_logits_get_a_temperature_above_1():
    # always 99 % sure, right in three of four
    logits = np.tile([np.log(99), 0.0], (40, 1))
    y_true = np.array([0, 0, 0, 1] * 10)
    # the best temperature makes the confidence 3/4: log(99) / T = log(3)
    assert fit_temperature(logits, y_true) == pytest.approx(np.log(99) / np.log(3), rel=1e-3)


def test_underconfident_logits_get_a_temperature_below_1():
    logits = np.tile([np.log(3), 0.0], (100, 1))
    y_true = np.array([0] * 9 + [1] * 1).repeat(10)
    assert fit_temperature(logits, y_true) == pytest.approx(np.log(3) / np.log(9), rel=1e-3)


@pytest.mark.parametrize("factor", [0.5, 1, 3])
def test_a_known_factor_is_recovered(factor):
    logits, y_true = drawn()
    assert fit_temperature(factor * logits, y_true) == pytest.approx(factor, rel=0.08)


def test_an_offset_of_the_logits_does_not_matter():
    logits, y_true = drawn(200)
    assert fit_temperature(log_softmax(logits, axis=1), y_true) == pytest.approx(
        fit_temperature(logits, y_true), rel=1e-4
    )


def test_the_temperature_stays_in_its_range():
    certain = np.array([[5.0, 0.0], [0.0, 5.0]])
    assert fit_temperature(certain, np.array([0, 1])) == pytest.approx(0.2, rel=0.01)
    assert fit_temperature(certain, np.array([1, 0])) == pytest.approx(10, rel=0.01)


def test_the_figure_shows_confidence_against_accuracy():
    bins = [{"n": 30, "confidence": 0.45, "accuracy": 0.5}, {"n": 10, "confidence": 0.9, "accuracy": 0.8}]
    figure = reliability_figure({"all": bins, "speech alone": bins[:1]}, "fusion on ravdess")
    first, second = figure.axes
    assert first.get_title() == "all, n = 40"
    assert second.get_title() == "speech alone, n = 30"
    line = first.lines[-1]
    np.testing.assert_allclose(line.get_xdata(), [45, 90])
    np.testing.assert_allclose(line.get_ydata(), [50, 80])
    (bars,) = (c for c in first.containers if isinstance(c, BarContainer))
    assert [bar.get_height() for bar in bars] == [75, 25]


def test_a_bin_of_few_utterances_is_no_accuracy():
    bins = [{"n": 3, "confidence": 0.3, "accuracy": 1.0}, {"n": 97, "confidence": 0.9, "accuracy": 0.8}]
    (ax,) = reliability_figure({"all": bins}, "").axes
    assert list(ax.lines[-1].get_xdata()) == [90]
    (bars,) = (c for c in ax.containers if isinstance(c, BarContainer))
    assert [bar.get_height() for bar in bars] == [3, 97]
