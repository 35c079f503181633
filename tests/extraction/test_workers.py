from functools import partial
from multiprocessing import Pipe
from pathlib import Path
from types import ModuleType

import pytest

from emofuse.errors import ConfigError
from emofuse.extraction import workers
from emofuse.extraction.workers import Died, run_in_processes


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tasks of this folder, under a name that worker processes can import."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import tasks_for_tests  # type: ignore[import-not-found]

    return tasks_for_tests


def test_what_a_dead_process_held_in_memory_is_computed_again(tmp_path: Path, tasks: ModuleType) -> None:
    seen: list[int] = []
    start = partial(tasks.Squares, tmp_path / "log", deadly=(5, 11))
    results = dict(run_in_processes(range(20), start, 1, seen.append, batch_size=8))
    assert results == {
        n: Died("the process died while at it (exit code 9)") if n in (5, 11) else n * n for n in range(20)
    }
    assert sorted(seen) == sorted(n * n for n in range(20) if n not in (5, 11))  # each once
    computed = [int(line) for line in (tmp_path / "log").read_text().split()]
    assert computed.count(3) == computed.count(4) == 2  # 0, 1 and 2 were saved when 5 came
    assert computed.count(0) == 1


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (0, ConfigError, "no such setting"),
        (1, OSError, "No space left"),
        (2, RuntimeError, "a worker process failed; its traceback stands above"),
    ],
)
def test_an_error_in_a_process_ends_the_run(
    tmp_path: Path, tasks: ModuleType, item: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        list(run_in_processes([item], partial(tasks.Failing, tmp_path / "log"), 1, print))


def test_processes_that_die_at_their_start_end_the_run(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MAX_DEATHS", 2)
    with pytest.raises(RuntimeError, match=r"2 worker processes in a row: .*exit code 9"):
        list(run_in_processes(range(50), tasks.dies_at_its_start, 1, print))


def test_a_process_that_dies_between_items_costs_none(tmp_path: Path, tasks: ModuleType) -> None:
    start = partial(tasks.dies_at_its_first_start, tmp_path / "log")
    assert dict(run_in_processes(range(5), start, 1, print)) == {n: n * n for n in range(5)}


def test_processes_that_get_on_before_they_die_do_not_end_the_run(
    tmp_path: Path, tasks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MAX_DEATHS", 2)
    monkeypatch.setattr(workers, "REPORT_S", 60.0)  # so that none of what they do is reported before
    start = partial(tasks.Squares, tmp_path / "log", deadly=(1, 3, 5))
    found = dict(run_in_processes(range(7), start, 1, print))
    assert {n for n, result in found.items() if isinstance(result, Died)} == {1, 3, 5}
    assert {n: found[n] for n in (0, 2, 4, 6)} == {0: 0, 2: 4, 4: 16, 6: 36}


@pytest.mark.parametrize(
    ("report_s", "reports"),
    [
        (60.0, [([0, 1, 4], True, False), ([9], False, True)]),
        (0.0, [([0], False, False), ([1], False, False), ([4], True, False), ([9], False, False), ([], False, True)]),
    ],
)
def test_results_are_reported_when_they_are_saved_or_old(
    tmp_path: Path, tasks: ModuleType, monkeypatch: pytest.MonkeyPatch, report_s: float, reports: list[tuple]
) -> None:
    monkeypatch.setattr(workers, "REPORT_S", report_s)
    here, there = Pipe()
    counts = [0, 0]
    workers._work(range(4), tasks.Squares(tmp_path / "log"), there, counts)
    there.close()
    assert counts == [4, 4]
    assert [tuple(here.recv()) for _ in reports] == reports
    with pytest.raises(EOFError):
        here.recv()


def test_nothing_to_do_starts_no_process(tasks: ModuleType) -> None:
    assert list(run_in_processes([], tasks.dies_at_its_start, 2, print)) == []
