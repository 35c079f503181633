"""Work in threads of one operation each."""

import threading

import pytest
import torch
from threadpoolctl import ThreadpoolController

from emofuse import threads
from emofuse.threads import available, in_threads, one_blas_thread


def test_each_item_has_a_thread_of_its_own_in_which_torch_has_one() -> None:
    meeting = threading.Barrier(3, timeout=30)

    def work(n: int) -> tuple[int, int, int]:
        meeting.wait()  # all three are at work at once, or this breaks
        return n, torch.get_num_threads(), threading.get_ident()

    found = in_threads(work, [3, 1, 2])
    assert [n for n, _, _ in found] == [3, 1, 2]
    assert {of_torch for _, of_torch, _ in found} == {1}
    assert len({ident for _, _, ident in found} - {threading.get_ident()}) == 3
    assert not [t for t in threading.enumerate() if t.name.startswith("emofuse")]


def test_threads_that_come_later_have_as_many_as_the_caller() -> None:
    later: list[int] = []
    try:
        torch.set_num_threads(2)
        in_threads(abs, [1, 2])
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert later == [torch.get_num_threads()] == [2]
    finally:
        torch.set_num_threads(1)


def test_products_of_matrices_take_one_thread_meanwhile() -> None:
    blas = ThreadpoolController().select(user_api="blas")

    def threads_of_each() -> set[int]:
        return {library["num_threads"] for library in blas.info()}

    with blas.limit(limits=2):
        with one_blas_thread():
            assert threads_of_each() == {1}
        assert threads_of_each() == {2}


def test_an_error_in_a_thread_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda n: 1 // n, [1, 0])


def test_how_many_threads_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available() == torch.get_num_threads() == 1
    monkeypatch.delitem(threads.sys.modules, "torch")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert available() == 3
    for useless in ("0", "many", ""):
        monkeypatch.setenv("OMP_NUM_THREADS", useless)
        assert available() == len(threads.os.sched_getaffinity(0))
