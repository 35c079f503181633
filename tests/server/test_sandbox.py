"""The process that strangers' files are read in: what it gives, what it may use, and how it ends."""

import importlib.util
import sys
import threading
import time
from pathlib import Path

import pytest

from emofuse.errors import DataError
from emofuse.server.sandbox import CrashError, LimitError, Limits, StoppedError, run

ROOMY = Limits(cpu_s=20, wall_s=20, memory=500_000_000, file_bytes=1_000_000)


def load_work():
    """The module of works, importable by its name in the new process too, which takes over `sys.path`."""
    sys.path.insert(0, str(Path(__file__).parent))
    import sandbox_work

    return sandbox_work


work = load_work()


def ignore(_what: str, _share: float) -> None:
    pass


def test_work_gives_its_result_and_tells_its_progress(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[str, float]] = []
    result = run(work.echo, tmp_path, {"a": [1, None, "é"]}, ROOMY, lambda what, share: told.append((what, share)))
    assert result["a"] == [1, None, "é"]
    assert result["folder"] == str(tmp_path.resolve())
    assert (tmp_path / "left.txt").exists()
    assert told == [("echoing", 0.5)]
    assert "must not be seen" not in "".join(capfd.readouterr())


def test_each_call_has_a_process_of_its_own(tmp_path: Path) -> None:
    pids = {run(work.echo, tmp_path, {}, ROOMY, ignore)["pid"] for _ in range(3)}
    assert len(pids) == 3


def test_errors_of_the_user_come_back_as_they_were(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^x\.wav: no sound$"):
        run(work.refuse, tmp_path, {}, ROOMY, ignore)


def test_faults_are_crashes(tmp_path: Path) -> None:
    with pytest.raises(CrashError, match="KeyError"):
        run(work.fail, tmp_path, {}, ROOMY, ignore)


def test_a_killed_process_is_a_crash(tmp_path: Path) -> None:
    with pytest.raises(CrashError, match="killed by signal 9"):
        run(work.die, tmp_path, {}, ROOMY, ignore)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory and processor time are tested on Linux")
@pytest.mark.parametrize(
    ("name", "given", "limits", "message"),
    [
        ("spin", {}, Limits(1, 50, 500_000_000, 1000), "more than 1 s of processor time"),
        ("sleep", {}, Limits(20, 0.5, 500_000_000, 1000), "longer than 0.5 s"),
        ("eat", {"n": 100_000_000}, Limits(20, 50, 100_000_000, 1000), "more than 100 MB"),
    ],
)
def test_beyond_a_limit_it_ends(tmp_path: Path, name: str, given: dict, limits: Limits, message: str) -> None:
    started = time.monotonic()
    with pytest.raises(LimitError, match=message):
        run(getattr(work, name), tmp_path, given, limits, ignore)
    assert time.monotonic() - started < 50  # it would sleep for 60


@pytest.mark.skipif(importlib.util.find_spec("resource") is None, reason="this system has no limits of file size")
def test_no_file_grows_beyond_its_limit(tmp_path: Path) -> None:
    with pytest.raises(CrashError, match="OSError"):
        run(work.write, tmp_path, {"n": 2_000_000}, ROOMY, ignore)
    assert (tmp_path / "large").stat().st_size <= 1_000_000


def test_what_fits_the_limits_is_done(tmp_path: Path) -> None:
    assert run(work.eat, tmp_path, {"n": 1_000_000}, ROOMY, ignore) == {"sum": 1e6}


def test_nobody_waits_for_what_is_not_wanted(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    started = time.monotonic()
    with pytest.raises(StoppedError):
        run(work.sleep, tmp_path, {}, ROOMY, ignore, stop)
    assert time.monotonic() - started < 50


def test_it_goes_on_when_the_process_it_forks_from_is_killed(tmp_path: Path) -> None:
    import os
    import signal
    from multiprocessing.forkserver import _forkserver  # type: ignore[attr-defined]

    for _ in range(3):
        assert run(work.echo, tmp_path, {"a": 1}, ROOMY, ignore)["a"] == 1
        os.kill(_forkserver._forkserver_pid, signal.SIGKILL)
    assert run(work.echo, tmp_path, {"a": 2}, ROOMY, ignore)["a"] == 2
