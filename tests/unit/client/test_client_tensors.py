"""The SDK's tensor bytes against the server's own reading of them."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.client.errors import TensorMismatch, UnexpectedAnswer
from modelry.client.tensors import NUMPY_TYPES, pack, unpack
from modelry.domain.signature import Datatype
from modelry.runtime_api.tensors import decode_tensor, encode_tensor

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
DTYPES = st.sampled_from([*NUMPY_TYPES.values(), np.dtype(">i4"), np.dtype(">f8")])
TEXTS = st.lists(st.text() | st.binary(), max_size=6)


def as_output(entry: dict, raw: bytes) -> dict:
    return {**entry, "parameters": {"binary_data_size": len(raw)}}


def test_both_sides_know_the_same_datatypes():
    assert set(NUMPY_TYPES) | {"BF16", "BYTES"} == {kind.value for kind in Datatype}


@given(DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, SHAPES)))
def test_what_is_packed_the_server_reads_and_what_it_writes_is_unpacked(array):
    entry, raw = pack("x", array)
    there = decode_tensor("x", Datatype(entry["datatype"]), entry["shape"], raw)
    np.testing.assert_array_equal(there, array)
    back = unpack([as_output(entry, raw)], memoryview(encode_tensor(there)))["x"]
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)


@given(TEXTS)
def test_texts_and_bytes_go_through(texts):
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    entry, raw = pack("x", array)
    assert entry["datatype"] == "BYTES"
    wanted = [one.encode() if isinstance(one, str) else one for one in texts]
    assert decode_tensor("x", Datatype.BYTES, entry["shape"], raw).tolist() == wanted
    assert unpack([as_output(entry, raw)], memoryview(raw))["x"].tolist() == wanted


@given(hnp.arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32)))
def test_bf16_is_rounded_to_nearest_and_comes_back_as_float32(array):
    entry, raw = pack("x", array, "BF16")
    back = unpack([as_output(entry, raw)], memoryview(raw))["x"]
    assert back.dtype == np.float32
    for before, after in zip(array.tolist(), back.tolist(), strict=True):
        if np.isnan(before):
            assert np.isnan(after)
        elif np.isinf(after):
            assert abs(before) > 3.38e38
        elif abs(before) >= 2.0**-126:
            assert abs(after - before) <= abs(before) * 2.0**-8
        else:
            assert abs(after - before) <= 2.0**-133


def test_lists_become_the_datatype_that_is_asked_for():
    entry, raw = pack("x", [[1, 2], [3, 4]], "INT8")
    assert (entry["datatype"], entry["shape"], raw) == ("INT8", [2, 2], b"\1\2\3\4")
    assert pack("x", [1.5], "FP32")[1] == np.float32(1.5).tobytes()
    assert pack("x", ["ü"], "BYTES")[1] == b"\2\0\0\0" + "ü".encode()
    assert pack("x", [], "FP32")[0]["shape"] == [0]


@pytest.mark.parametrize(
    ("value", "datatype"),
    [
        (np.zeros(2, complex), None),
        (np.zeros(2, "M8[s]"), None),
        ([1.5], "INT8"),
        ([300], "INT8"),
        ([-1], "UINT64"),
        ([2], "BOOL"),
        ([2**64], "UINT64"),
        ([1e300], "FP16"),
        ([[1], [2, 3]], "FP32"),
        ([[1], [2, 3]], None),
        (["a"], "FP32"),
        ([1], "INT7"),
        ([object()], None),
        ([1], "BYTES"),
    ],
)
def test_what_is_no_tensor_is_told_by_name(value, datatype):
    with pytest.raises(TensorMismatch, match="'x'") as caught:
        pack("x", value, datatype)
    assert caught.value.param == "x"


def output(datatype: str, shape: list[int], size: int | None = None, **more) -> dict:
    sized = {} if size is None else {"parameters": {"binary_data_size": size}}
    return {"name": "x", "datatype": datatype, "shape": shape, **sized, **more}


@pytest.mark.parametrize(
    ("entry", "body"),
    [
        (output("FP32", [2]), b""),
        (output("FP32", [2], 4), b"1234"),
        (output("FP32", [1], 8), b"1234"),
        (output("FP32", [-1], 3), b"123"),
        (output("FP32", [1], -1), b""),
        (output("NEW", [1], 1), b"1"),
        (output("BYTES", [1], 5), b"\xff\0\0\0a"),
        (output("BYTES", [1], 2), b"\1\0"),
        (output("BYTES", [2], 5), b"\1\0\0\0a"),
        (output("INT8", [1], data=["a"]), b""),
        (output("INT8", [1], data=[1]), b"left over"),
        ("x", b""),
        ({}, b""),
    ],
)
def test_answers_that_do_not_add_up_are_told(entry, body):
    with pytest.raises(UnexpectedAnswer):
        unpack([entry], memoryview(body))


def test_outputs_in_json_are_read_too():
    entries = [
        {"name": "n", "datatype": "INT64", "shape": [2, 1], "data": [1, 2]},
        {"name": "s", "datatype": "BYTES", "shape": [1], "data": ["ü"]},
    ]
    found = unpack(entries, memoryview(b""))
    assert found["n"].tolist() == [[1], [2]]
    assert found["s"].tolist() == ["ü".encode()]
