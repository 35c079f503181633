"""Turns, quartiles and ratios, worked by hand."""

import time

import pytest

from emofuse.bench.timing import Contender, compare, empty_entry, in_unit, interleave, optional, quartiles, ratio

KEYS = {"ours", "reference", "unit", "ratio", "roofline_share"}


class Clock:
    """A clock of its own, contenders that take a stated time on it, and who was called."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls = ""

    def contender(self, name: str, *seconds: float) -> Contender:
        """Takes as long as is stated for each of its calls; the last is for all further ones."""
        left = list(seconds)

        def run() -> None:
            self.now += left.pop(0) if len(left) > 1 else left[0]
            self.calls += name

        return Contender(name, run)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: made.now)
    return made


def test_contenders_take_turns_after_a_warm_up(clock: Clock) -> None:
    found = interleave([clock.contender("a", 0.5), clock.contender("b", 1.0)], runs=3, round_s=0.25)
    assert clock.calls == "aabb" + "ab" * 3
    assert found == [[0.5] * 3, [1.0] * 3]


def test_quick_contenders_are_called_several_times_a_turn(clock: Clock) -> None:
    found = interleave([clock.contender("a", 0.125), clock.contender("b", 0.5)], runs=2, round_s=0.25)
    assert clock.calls == "aabb" + "aab" * 2
    assert found == [[0.125] * 2, [0.5] * 2]


def test_the_first_call_does_not_decide_how_often_to_call(clock: Clock) -> None:
    interleave([clock.contender("a", 1.0, 0.125)], runs=1, round_s=0.5)
    assert clock.calls == "aa" + "aaaa"


def test_what_takes_long_is_warmed_up_once(clock: Clock) -> None:
    assert interleave([clock.contender("a", 9.0, 8.0)], runs=2) == [[8.0, 8.0]]
    assert clock.calls == "a" + "aa"


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3.0], (3.0, 3.0, 3.0)), ([5, 1, 4, 2, 3], (2, 3, 4)), ([1, 2, 3, 4], (1.75, 2.5, 3.25))],
)
def test_quartiles(values: list[float], expected: tuple[float, float, float]) -> None:
    assert quartiles(values) == pytest.approx(expected)


def test_units() -> None:
    assert in_unit("x real time", [0.5, 2.0], 10.0) == [20.0, 5.0]
    assert in_unit("ms", [0.5], 2.0) == [250.0]
    assert in_unit("s", [3.0], 1.0) == [3.0]
    assert ratio("ms", 2.0, 8.0) == ratio("utterances/s", 8.0, 2.0) == 4.0


def test_a_case_compares_medians_and_rounds() -> None:
    contenders = [Contender("ours", int, 8.0), Contender("plain", int, 2.0), Contender("other", int, 1.0)]
    seconds = [[1.0, 2.0, 4.0], [1.0, 1.0, 4.0], [1.0, 1.0, 1.0]]
    entry = compare("x real time", contenders, seconds, has_reference=True)
    assert set(entry) > KEYS
    # Ours: 8, 4, 2 times real time; the reference 2, 2, 0.5; the other always 1.
    assert (entry["ours"], entry["reference"], entry["ratio"]) == (4.0, 2.0, 2.0)
    assert entry["quartiles"] == {"ours": [3.0, 6.0], "reference": [1.25, 2.0]}
    assert entry["ratio_quartiles"] == [3.0, 4.0]  # of 4, 2, 4
    assert (entry["reference_name"], entry["runs"], entry["roofline_share"]) == ("plain", 3, None)
    assert entry["beside"]["other"] == {
        "value": 1.0,
        "quartiles": [1.0, 1.0],
        "ratio": 4.0,
        "ratio_quartiles": [3.0, 6.0],
    }


def test_without_a_reference_the_second_one_stands_beside() -> None:
    entry = compare("ms", [Contender("ours", int), Contender("other", int)], [[0.001], [0.003]], has_reference=False)
    assert (entry["ours"], entry["reference"], entry["ratio"]) == (1.0, None, None)
    assert entry["beside"]["other"]["ratio"] == pytest.approx(3.0)


def test_a_case_that_could_not_be_measured_has_the_same_keys() -> None:
    entry = empty_entry("ms", "why")
    assert set(entry) == KEYS | {"note"}
    assert [entry[key] for key in sorted(KEYS - {"unit"})] == [None] * 4


def test_what_is_not_there_is_no_contender() -> None:
    assert optional("a", None) is None
    made = optional("a", int, 3.0)
    assert made is not None
    assert made.amount == 3.0
