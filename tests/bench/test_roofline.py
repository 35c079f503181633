"""The shortest time that work can take, by hand; and that a machine can be measured."""

import pytest

from emofuse.bench.roofline import Roofline, measure_roofline
from emofuse.bench.work import Work

ROOF = Roofline(10.0, {"float32": 100.0, "bfloat16": 1000.0}, 1)


def test_the_slower_of_arithmetic_and_memory_decides() -> None:
    assert ROOF.least_s(Work(flops=4000, bytes=20)) == 4.0
    assert ROOF.least_s(Work(flops=1000, bytes=20)) == 2.0


def test_the_share_is_of_the_time_taken() -> None:
    found = ROOF.share(Work(flops=4000, bytes=20), seconds=16.0)
    assert found["roofline_share"] == 0.25
    assert found["roofline"] == {"flops": 4000, "bytes": 20, "least_s": 4.0, "bound": "arithmetic"}
    assert ROOF.share(Work(flops=0, bytes=20), seconds=16.0)["roofline"]["bound"] == "memory"


def test_a_machine_is_measured() -> None:
    found = measure_roofline(n_values=2**12, size=32, measure_s=0.001)
    assert found.bytes_per_s > 0
    assert set(found.flops_per_s) == {"float32", "bfloat16"}
    assert min(found.flops_per_s.values()) > 0
    assert found.threads == 1


def test_noise_takes_nothing_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of what was tried counts: after the warm-up a call takes 3, then 1, then 2 seconds."""
    times = iter([0.0, 0.0, 0.0, 3.0, 3.0, 3.0, 4.0, 4.0, 4.0, 6.0, 10.0])
    monkeypatch.setattr("emofuse.bench.roofline.time.perf_counter", lambda: next(times))
    from emofuse.bench.roofline import _best_s

    assert _best_s(lambda: None, measure_s=5.0) == 1.0
