import struct

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.domain.errors import ModelryError, TensorMismatch, UnsupportedField
from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.protocols.oip.answer import AnswerHead, render_answer
from modelry.protocols.oip.plan import make_plan, read_header_length, split_body
from modelry.runtime_api.tensors import pack_tensors, unpack_tensors

FLOATS = Signature(
    (TensorSpec("x", Datatype.FP32, (-1, 2)),), (TensorSpec("y", Datatype.FP32, (-1, 3)),), True
)
PAIR = Signature(
    (TensorSpec("a", Datatype.INT64, (-1,)), TensorSpec("b", Datatype.BYTES, (-1,))), (), True
)


def request(**changes):
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]} | changes
    return orjson.dumps({"inputs": [{k: v for k, v in tensor.items() if v is not ...}]})


def arrays_of(plan, binary=b""):
    entries = orjson.loads(plan.frame_header)["inputs"]
    return unpack_tensors(entries, plan.frame_body(memoryview(binary)))


@pytest.mark.parametrize("data", [[1.0, 2.0], [[1, 2]]])
def test_flat_and_nested_json_give_the_same_tensor(data):
    np.testing.assert_array_equal(
        arrays_of(make_plan(request(data=data), FLOATS))["x"], np.array([[1, 2]], np.float32)
    )


def test_binary_data_passes_through_untouched():
    raw = struct.pack("<2f", 5, 6)
    plan = make_plan(request(data=..., parameters={"binary_data_size": 8}), FLOATS)
    assert bytes(plan.frame_body(memoryview(raw))) == raw


def test_json_and_binary_can_be_mixed():
    raw = struct.pack("<I", 2) + b"hi"
    body = orjson.dumps(
        {
            "inputs": [
                {"name": "b", "datatype": "BYTES", "shape": [1],
                 "parameters": {"binary_data_size": len(raw)}},
                {"name": "a", "datatype": "INT64", "shape": [1], "data": [-7]},
            ]
        }
    )  # fmt: skip
    arrays = arrays_of(make_plan(body, PAIR), raw)
    assert arrays["a"].tolist() == [-7]
    assert arrays["b"].tolist() == [b"hi"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "z"}, "expects: x"),
        ({"datatype": "FP64"}, "expects FP32"),
        ({"shape": [1, 3]}, "expects \\[-1, 2\\]"),
        ({"shape": [-1, 2]}, "integers >= 0"),
        ({"shape": [2**62, 2]}, "at most"),
        ({"shape": "1,2"}, "needs a 'shape'"),
        ({"data": [1.0]}, "has 1 elements"),
        ({"data": [1.0, "2"]}, "not all elements are FP32"),
        ({"data": [1.0, 1e300]}, "not all elements are FP32"),
        ({"data": [[1.0], [2.0]]}, "not nested"),
        ({"data": "12"}, "must be a list"),
        ({"data": ...}, "either 'data' or"),
        ({"parameters": {"binary_data_size": 8}}, "either 'data' or"),
        ({"data": ..., "parameters": {"binary_data_size": 4}}, "takes 8 bytes"),
        ({"data": ..., "parameters": {"binary_data_size": -8}}, ">= 0"),
        ({"data": ..., "parameters": {"shared_memory_region": "r"}}, "shared memory"),
        ({"surprise": 1}, "unknown field 'surprise'"),
    ],
)
def test_bad_inputs_are_told(changes, says):
    with pytest.raises(ModelryError, match=says):
        make_plan(request(**changes), FLOATS)


def test_declared_and_real_length_must_agree():
    plan = make_plan(request(data=..., parameters={"binary_data_size": 8}), FLOATS)
    with pytest.raises(TensorMismatch, match="7 bytes follow"):
        plan.frame_body(memoryview(b"1234567"))
    with pytest.raises(TensorMismatch, match="1 bytes follow"):
        make_plan(request(), FLOATS).frame_body(memoryview(b"!"))


def test_batched_inputs_must_have_equal_batch():
    body = orjson.dumps(
        {
            "inputs": [
                {"name": "a", "datatype": "INT64", "shape": [2], "data": [1, 2]},
                {"name": "b", "datatype": "BYTES", "shape": [1], "data": ["x"]},
            ]
        }
    )
    with pytest.raises(TensorMismatch, match="first dimension"):
        make_plan(body, PAIR)


def test_outputs_can_be_chosen_and_must_exist():
    body = orjson.loads(request()) | {
        "outputs": [{"name": "y", "parameters": {"binary_data": True}}]
    }
    assert make_plan(orjson.dumps(body), FLOATS).binary_outputs == {"y"}
    body["outputs"] = [{"name": "nope"}]
    with pytest.raises(TensorMismatch, match="gives: y"):
        make_plan(orjson.dumps(body), FLOATS)
    body["outputs"] = [{"name": "y", "parameters": {"classification": 3}}]
    with pytest.raises(UnsupportedField, match="classification"):
        make_plan(orjson.dumps(body), FLOATS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "name": json_values | st.just("x"),
            "datatype": json_values | st.just("FP32"),
            "shape": json_values | st.just([1, 2]),
            "data": json_values | st.just([1, 2]),
            "parameters": json_values,
        },
    ),
    json_values,
)
def test_hostile_json_gives_an_error_or_a_sound_plan(tensor, outputs):
    try:
        body = orjson.dumps({"inputs": [tensor], "outputs": outputs})
    except TypeError:
        return  # an integer beyond 64 bits cannot be written as JSON here
    try:
        plan = make_plan(body, FLOATS)
    except ModelryError:
        return
    if plan.binary_bytes == 0:
        assert arrays_of(plan)["x"].shape[1] == 2


@pytest.mark.parametrize("length", [b"-1", b"abc", b"99", b"1e3", b""])
def test_bad_header_lengths_are_refused(length):
    with pytest.raises(ModelryError):
        split_body(b"{}", read_header_length(length))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=6))
def test_answers_hold_the_same_numbers_in_json_and_binary(values):
    array = np.array(values, np.float32)
    entries, parts = pack_tensors({"y": array})
    head = AnswerHead("m", 1, "id-1")
    as_json, none = render_answer(head, frozenset(), entries, parts[0])
    as_binary, (data,) = render_answer(head, None, entries, parts[0])
    assert not none
    assert np.array(orjson.loads(as_json)["outputs"][0]["data"], np.float32).tolist() == values
    assert bytes(data) == array.tobytes()
    answer = orjson.loads(as_binary)
    assert answer["id"] == "id-1"
    assert answer["outputs"][0]["parameters"]["binary_data_size"] == len(data)
