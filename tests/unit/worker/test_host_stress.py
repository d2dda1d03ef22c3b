"""Calls, cancellations, deadlines and failures in any order: one answer per call, the right one."""

import random
import time

import numpy as np
import pytest
from tests.support.worker_harness import Doubling, hosted, outputs_of

from modelry.domain.errors import Cancelled, ModelFailed
from modelry.domain.signature import Datatype, Signature, TensorSpec
from modelry.runtime_api.frames import Kind

SIGNATURE = Signature(
    (TensorSpec("x", Datatype.FP32, (-1, -1)),), (TensorSpec("y", Datatype.FP32, (-1, -1)),), True
)
CALLS = 200


class Moody(Doubling):
    """Takes from 0 to 30 ms, refuses rows that hold 13."""

    def infer(self, inputs, stop):
        until = time.monotonic() + random.choice((0, 0, 0.001, 0.03))
        while time.monotonic() < until:
            if stop.is_set():
                raise Cancelled("stopped")
            time.sleep(0.0005)
        if (inputs["x"] == 13).any():
            raise ModelFailed("13")
        return super().infer(inputs, stop)


@pytest.mark.parametrize("seed", range(2))
def test_every_call_is_answered_once_and_rightly(seed):
    chance = random.Random(seed)
    sent, cancelled, hurried = {}, set(), set()
    with hosted(Moody(SIGNATURE), max_rows=8) as gateway:
        for call_id in range(1, CALLS + 1):
            width, rows = chance.choice((1, 2)), chance.choice((1, 1, 1, 2, 5, 20))
            x = np.full((rows, width), call_id if chance.random() > 0.05 else 13, np.float32)
            sent[call_id] = x
            ms = 0
            if chance.random() < 0.1:
                hurried.add(call_id)
                ms = chance.choice((1, 20))
            gateway.infer(call_id, {"x": x}, ms=ms)
            if chance.random() < 0.15:
                target = chance.randint(max(1, call_id - 5), call_id)
                cancelled.add(target)
                gateway.send(Kind.CANCEL, target)
            if chance.random() < 0.05:
                time.sleep(0.01)
        answers = gateway.answers(CALLS)
        gateway.send(Kind.DRAIN, 0)
        assert gateway.receive().kind == Kind.DRAINED
    for call_id, frame in answers.items():
        if frame.kind == Kind.RESULT:
            np.testing.assert_array_equal(outputs_of(frame)["y"], 2 * sent[call_id])
            continue
        code = frame.json()["code"]
        assert (
            (code == "model_failed" and (sent[call_id] == 13).all())
            or (code == "cancelled" and call_id in cancelled)
            or (code == "deadline_exceeded" and call_id in hurried)
        ), (call_id, code)
