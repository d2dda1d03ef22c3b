import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.domain.errors import ModelryError
from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.protocols.oip.answer import AnswerHead, render_answer
from modelry.protocols.oip.plan import make_plan
from modelry.protocols.oip.repeated_json import JsonTemplate, RepeatedJson, fits_template
from modelry.runtime_api.tensors import pack_tensors


def signature(datatype):
    return Signature((TensorSpec("x", datatype, (-1, 2)),), (), True)


def request(data, shape=(1, 2), datatype="FP32", **more):
    tensor = {"name": "x", "datatype": datatype, "shape": list(shape), "data": data}
    return orjson.dumps({"inputs": [tensor], **more})


def outcome(plan_of, raw, datatype=Datatype.FP32):
    try:
        plan, body = plan_of(raw, signature(datatype))
    except ModelryError as error:
        return type(error), error.message
    return plan.frame_header, bytes(plan.frame_body(memoryview(b"")) if body is None else body)


def direct(raw, wanted):
    return make_plan(raw, wanted), None


elements = st.one_of(
    st.floats(), st.integers(-(2**40), 2**40), st.text(max_size=3), st.none(), st.booleans(),
    st.lists(st.integers(0, 3), max_size=2),
)  # fmt: skip
datas = st.one_of(st.lists(elements, min_size=1, max_size=5), st.just([[1, 2]]), elements)


@pytest.mark.parametrize("datatype", [Datatype.FP32, Datatype.INT32, Datatype.UINT8, Datatype.BOOL])
@given(st.lists(datas, max_size=5))
def test_repeated_requests_are_answered_as_if_each_was_the_first(datatype, sent):
    repeated = RepeatedJson()

    def plan_of(raw, wanted):
        return repeated.plan("sha256:1", raw, wanted)

    for data in ([1, 2], *sent, [3, 4]):
        raw = request(data, datatype=datatype.value)
        assert outcome(plan_of, raw, datatype) == outcome(direct, raw, datatype)


@pytest.mark.parametrize(
    "raw",
    [
        request([1, 2]).replace(b":", b" : ").replace(b",", b", "),
        request([1, 2]).replace(b'"data"', b'"data":[5,6],"data"'),
        request([1, 2], parameters={"data": [1, 2]}),
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2}]}',
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]]}',
        b'{"id":"\\"data\\":[1,2]","inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}',
        b'"data":[1,2]',
        b'{"data":[1,2]}',
    ],
)
def test_unusual_requests_are_read_as_they_are(raw):
    repeated = RepeatedJson()

    def plan_of(body, wanted):
        return repeated.plan("sha256:1", body, wanted)

    for body in (raw, raw, raw.replace(b"[1", b"[7"), raw):
        assert outcome(plan_of, body) == outcome(direct, body)


def test_the_second_request_is_taken_by_its_numbers_alone():
    repeated = RepeatedJson()
    first, none = repeated.plan("d", request([1, 2]), signature(Datatype.FP32))
    assert none is None
    second, body = repeated.plan("d", request([3, 4]), signature(Datatype.FP32))
    assert second is first
    assert np.frombuffer(body, np.float32).tolist() == [3, 4]
    _, other = repeated.plan("another version", request([3, 4]), signature(Datatype.FP32))
    assert other is None


@given(st.lists(st.floats(width=32), min_size=1, max_size=6), st.sampled_from(["y", '"data":[]']))
def test_a_filled_template_is_the_rendered_answer(values, name):
    entries, parts = pack_tensors({name: np.array(values, np.float32)})
    head = AnswerHead("model", 3, None)
    expected, _ = render_answer(head, frozenset(), entries, parts[0])
    assert fits_template(entries)
    assert orjson.loads(JsonTemplate(head, entries[0]).fill(parts[0])) == orjson.loads(expected)
