import threading
import time
from dataclasses import replace

import numpy as np
from tests.support.worker_harness import Doubling, hosted

from modelry.domain.errors import ImageInvalid
from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.runtime_api.frames import Kind
from modelry.runtime_api.tensors import unpack_tensors
from modelry.tasks.prediction import Answer, Prepared

BATCHED = Signature(
    (TensorSpec("x", Datatype.FP32, (-1, 1)),), (TensorSpec("y", Datatype.FP32, (-1, 1)),), True
)
ONE_BY_ONE = Signature(
    (TensorSpec("x", Datatype.FP32, (1, 1)),), (TensorSpec("y", Datatype.FP32, (1, 1)),), False
)


class Bytes:
    """An image is its bytes' sum; "bad" is no image."""

    def before(self, items, options):
        sums = []
        for item in items:
            image = item["image"] if "image" in item else item["text"].encode()
            if image == b"bad":
                raise ImageInvalid("'bad' is no image", param="image")
            sums.append([sum(image)])
        inputs = {"x": np.array(sums, np.float32)}
        return Prepared(inputs, len(items), None, options, {"images": len(items)})

    def parts(self, prepared, most):
        for start in range(0, prepared.count, most):
            x = prepared.inputs["x"][start : start + most]
            yield replace(prepared, inputs={"x": x}, count=len(x), usage={"images": len(x)})

    def after(self, prepared, outputs):
        if prepared.options.get("fail"):
            raise RuntimeError("a step with a defect")
        values = outputs["y"].ravel().tolist()
        items = [{"value": value, "np": np.float32(value)} for value in values]
        return Answer(items, {"embedding": outputs["y"]}, dict(prepared.usage))


class Held(Doubling):
    def __init__(self, signature):
        super().__init__(signature)
        self.entered, self.go = threading.Event(), threading.Event()

    def infer(self, inputs, stop):
        self.entered.set()
        self.go.wait(5)
        return super().infer(inputs, stop)


def predict(gateway, call_id, *images, **options):
    items, at = [], 0
    for image in images:
        items.append({"image": {"$bytes": [at, len(image)]}})
        at += len(image)
    header = {"items": items, "options": options}
    gateway.send(Kind.PREDICT, call_id, header, b"".join(images))


def test_items_of_several_calls_share_a_run_and_answers_are_their_own():
    engine = Held(BATCHED)
    with hosted(engine, max_rows=8, predictor=Bytes()) as gateway:
        predict(gateway, 1, b"\1")
        engine.entered.wait(5)
        predict(gateway, 2, b"\2", b"\3")
        predict(gateway, 3, b"\4")
        predict(gateway, 4, b"bad")
        time.sleep(0.1)
        engine.go.set()
        answers = gateway.answers(4)
    assert engine.runs == [1, 3]
    told = answers[2].json()
    assert told["items"] == [{"value": 4.0, "np": 4.0}, {"value": 6.0, "np": 6.0}]
    assert told["usage"] == {"images": 2}
    assert unpack_tensors(told["arrays"], answers[2].body)["embedding"].tolist() == [[4], [6]]
    assert answers[3].json()["items"][0]["value"] == 8.0
    assert answers[4].json()["code"] == "image_invalid"


def test_models_with_a_fixed_batch_get_items_one_by_one():
    engine = Doubling(ONE_BY_ONE)
    with hosted(engine, predictor=Bytes()) as gateway:
        predict(gateway, 1, b"\1", b"\2", b"\3")
        told = gateway.answers(1)[1].json()
    assert engine.runs == [1, 1, 1]
    assert [item["value"] for item in told["items"]] == [2.0, 4.0, 6.0]
    assert told["usage"] == {"images": 3}


def test_texts_can_be_embedded_through_the_predictor():
    with hosted(
        Doubling(BATCHED), predictor=Bytes(), abilities=("tensors", "items", "embedding")
    ) as gateway:
        gateway.send(Kind.EMBED, 1, {"inputs": ["\1\1", "\2"]})
        answer = gateway.answers(1)[1]
    vectors = unpack_tensors(answer.json()["arrays"], answer.body)["embedding"]
    assert vectors.tolist() == [[4], [4]]


def test_a_defect_after_the_engine_fails_its_call_only(capsys):
    with hosted(Doubling(BATCHED), predictor=Bytes()) as gateway:
        predict(gateway, 1, b"\1", fail=True)
        assert gateway.answers(1)[1].json()["code"] == "model_failed"
        predict(gateway, 2, b"\1")
        assert gateway.answers(1)[2].kind == Kind.RESULT
    assert "a step with a defect" in capsys.readouterr().err


def test_bytes_beyond_the_body_are_refused():
    with hosted(Doubling(BATCHED), predictor=Bytes()) as gateway:
        for call_id, place in enumerate(([0, 5], [-1, 1], [0], "x", [2**60, 1], [True, 1]), 1):
            header = {"items": [{"image": {"$bytes": place}}], "options": {}}
            gateway.send(Kind.PREDICT, call_id, header, b"abc")
        codes = [frame.json()["code"] for frame in gateway.answers(6).values()]
    assert codes == ["invalid_input"] * 6


def test_a_call_cancelled_in_preparation_is_answered_once():
    class Slow(Bytes):
        def before(self, items, options):
            time.sleep(0.1)
            return super().before(items, options)

    engine = Doubling(BATCHED)
    with hosted(engine, predictor=Slow()) as gateway:
        predict(gateway, 1, b"\1")
        gateway.send(Kind.CANCEL, 1)
        assert gateway.answers(1)[1].json()["code"] == "cancelled"
        predict(gateway, 2, b"\1")
        assert gateway.answers(1)[2].kind == Kind.RESULT
    assert engine.runs == [1]
