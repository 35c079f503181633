import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emofuse.quantised import pack, unpack


def test_a_row_by_hand():
    packed = pack({"w": np.array([[127.0, -63.6], [0.0, 0.0]])}, min_size=1)
    assert packed["w"].dtype == np.int8
    assert packed["w"].tolist() == [[127, -64], [0, 0]]
    assert unpack(packed)["w"].tolist() == [[127, -64], [0, 0]]


def test_what_is_small_or_no_matrix_is_halved_and_the_rest_is_kept():
    arrays = {"bias": np.ones(9999), "few": np.ones((2, 2)), "n": np.array(3), "mask": np.ones((99, 99), bool)}
    packed = pack(arrays)
    assert {k: v.dtype.name for k, v in packed.items()} == {
        "bias": "float16",
        "few": "float16",
        "n": "int64",
        "mask": "bool",
    }
    found = unpack(packed)
    assert found["bias"].dtype == np.float32
    assert found["n"] == 3


@given(st.integers(0, 1000), st.sampled_from([(64, 64), (30, 7, 20), (4, 2000)]), st.floats(1e-6, 1e6))
def test_no_value_is_off_by_more_than_half_a_step_of_its_row(seed, shape, size):
    array = (np.random.default_rng(seed).normal(size=shape) * size).astype(np.float32)
    found = unpack(pack({"w": array}))["w"]
    rows = np.abs(array).reshape(len(array), -1).max(axis=1)
    off = np.abs(found - array).reshape(len(array), -1).max(axis=1)
    assert (off <= rows / 254 * (1 + 1e-4)).all()
    assert found.shape == shape


def test_it_is_a_quarter_of_the_size():
    packed = pack({"w": np.ones((1000, 400), np.float32)})
    assert sum(a.nbytes for a in packed.values()) == pytest.approx(1000 * 400, rel=0.02)
