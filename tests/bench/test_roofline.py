"""The shortest time that work can take, by hand; and that a machine can be measured."""

import pytest

from emofuse.bench.roofline import Roofline, best_of, probes, roofline_of
from emofuse.bench.timing import Contender, interleave
from emofuse.bench.work import Work

ROOF = Roofline(10.0, {"float32": 100.0, "bfloat16": 1000.0})


def test_the_slower_of_arithmetic_and_memory_decides() -> None:
    assert ROOF.share(Work(flops=4000, bytes=20), seconds=16.0)["roofline"]["least_s"] == 4.0
    assert ROOF.share(Work(flops=1000, bytes=20), seconds=16.0)["roofline"]["least_s"] == 2.0


def test_the_share_is_of_the_time_taken() -> None:
    found = ROOF.share(Work(flops=4000, bytes=20), seconds=16.0)
    assert found["roofline_share"] == 0.25
    assert found["roofline"]["bound"] == "arithmetic"
    assert ROOF.share(Work(flops=0, bytes=20), seconds=16.0)["roofline"]["bound"] == "memory"


def test_the_best_run_counts() -> None:
    tried = [Contender("memory", int, 12.0), Contender("float32", int, 8.0)]
    assert roofline_of(tried, [[3.0, 2.0, 4.0], [1.0, 2.0, 4.0]]) == Roofline(6.0, {"float32": 8.0})


def test_the_best_of_several() -> None:
    other = Roofline(20.0, {"float32": 50.0, "bfloat16": 2000.0})
    assert best_of([ROOF, other]) == Roofline(20.0, {"float32": 100.0, "bfloat16": 2000.0})
    assert best_of([]) is None


def test_probes_count_what_they_do() -> None:
    tried = probes(n_values=2**12, size=32)
    assert [(c.name, c.amount) for c in tried] == [("memory", 49_152), ("float32", 65_536), ("bfloat16", 65_536)]
    found = roofline_of(tried, interleave(tried, runs=2, round_s=0.0))
    assert found.bytes_per_s > 0
    assert min(found.flops_per_s.values()) > 0


@pytest.mark.parametrize(("place", "shape"), [(0, (2**12,)), (1, (32, 32)), (2, (32, 32))])
def test_probes_compute(place: int, shape: tuple[int, ...]) -> None:
    found = probes(n_values=2**12, size=32)[place].run()
    assert getattr(found, "shape", None) == shape
