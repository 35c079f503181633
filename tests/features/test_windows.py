from hypothesis import given
from hypothesis import strategies as st

from emofuse.features.windows import Window, windows


def test_by_hand():
    assert list(windows(7, 10, 2)) == [Window(0, 7, 0, 7)]
    assert list(windows(10, 10, 2)) == [Window(0, 10, 0, 10)]
    assert list(windows(11, 10, 2)) == [Window(0, 10, 0, 8), Window(1, 11, 8, 11)]
    assert list(windows(20, 10, 2)) == [Window(0, 10, 0, 8), Window(6, 16, 8, 14), Window(10, 20, 14, 20)]


@given(st.integers(1, 500), st.integers(0, 9), st.integers(1, 30))
def test_every_row_is_kept_once_and_sees_its_context(n_rows, context, more):
    size = 2 * context + more
    kept = []
    for window in windows(n_rows, size, context):
        assert window.end - window.start == min(size, n_rows)
        assert window.keep_start - window.start >= min(context, window.keep_start)
        assert window.end - window.keep_end >= min(context, n_rows - window.keep_end)
        kept += range(window.keep_start, window.keep_end)
    assert kept == list(range(n_rows))
