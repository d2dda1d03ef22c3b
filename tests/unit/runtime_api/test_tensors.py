import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelry.domain.errors import TensorMismatch
from modelry.domain.signature import Datatype
from modelry.runtime_api.tensors import (
    NUMPY_TYPES,
    count_elements,
    decode_tensor,
    pack_tensors,
    unpack_tensors,
)

numeric = [t for t in Datatype if t not in (Datatype.BYTES, Datatype.BF16)]


@given(st.data(), st.sampled_from(numeric))
def test_arrays_survive_the_wire(data, datatype):
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    array = data.draw(hnp.arrays(NUMPY_TYPES[datatype], shape))
    entries, parts = pack_tensors({"x": array})
    back = unpack_tensors(entries, b"".join(parts))["x"]
    assert entries[0]["datatype"] == datatype
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_strings_survive_the_wire(items):
    array = np.empty(len(items), dtype=object)
    array[:] = items
    entries, parts = pack_tensors({"s": array})
    assert list(unpack_tensors(entries, b"".join(parts))["s"]) == items


@given(st.binary(max_size=60), st.lists(st.integers(0, 4), max_size=3))
def test_hostile_strings_never_crash(raw, shape):
    try:
        array = decode_tensor("s", Datatype.BYTES, shape, raw)
    except TensorMismatch:
        return
    assert array.shape == tuple(shape)
    assert sum(4 + len(item) for item in array.ravel()) == len(raw)


@pytest.mark.parametrize("shape", [[-1], [2**40], [1.5], [True], ["3"]])
def test_impossible_sizes_are_refused(shape):
    with pytest.raises(TensorMismatch):
        count_elements("x", shape)


def test_the_message_says_what_came_and_what_was_expected():
    with pytest.raises(TensorMismatch, match=r"has 3 bytes; FP32 with shape \[2\] takes 8"):
        decode_tensor("x", Datatype.FP32, [2], b"abc")


def test_leftover_and_missing_bytes_are_refused():
    entries, parts = pack_tensors({"x": np.zeros(2, np.float32)})
    with pytest.raises(TensorMismatch, match="left over"):
        unpack_tensors(entries, parts[0] + b"!")
    with pytest.raises(TensorMismatch, match="cut off"):
        unpack_tensors(entries, parts[0][:-1])
