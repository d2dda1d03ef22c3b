import threading
import time

import numpy as np
from tests.support.worker_harness import hosted

from modelry.domain.errors import Cancelled, ContextLengthExceeded
from modelry.domain.signature import NO_TENSORS
from modelry.runtime_api.engine import Embeddings
from modelry.runtime_api.frames import Kind
from modelry.runtime_api.generation import (
    ChatRequest,
    CompletionRequest,
    Finished,
    TextDelta,
    TokenUsage,
    request_to_wire,
)
from modelry.runtime_api.tensors import unpack_tensors


class Counting:
    """Says "0 1 2 …" up to the number in the message, one token each 2 ms."""

    signature = NO_TENSORS
    capacity = 3
    context_length = 1000

    def __init__(self):
        self.said = {}

    def chat(self, request, emit, stop):
        text = request.messages[-1]["content"]
        count = int(text)
        if count > self.context_length:
            raise ContextLengthExceeded("too long", param="messages")
        for number in range(count):
            if stop.is_set():
                raise Cancelled("stopped")
            self.said[text] = number + 1
            emit(TextDelta(0, f"{number} "))
            time.sleep(0.002)
        emit(Finished(0, "stop"))
        emit(TokenUsage(1, count))

    def close(self):
        pass


def chat(count):
    return request_to_wire(ChatRequest([{"role": "user", "content": str(count)}]))


ABILITIES = ("chat",)


def test_events_come_in_order_and_end_with_a_result():
    with hosted(Counting(), abilities=ABILITIES) as gateway:
        for call_id in (1, 2, 3):
            gateway.send(Kind.GENERATE, call_id, chat(20))
        events = {1: [], 2: [], 3: []}
        ended = set()
        while len(ended) < 3:
            frame = gateway.receive()
            if frame.kind == Kind.RESULT:
                ended.add(frame.call_id)
            else:
                assert frame.kind == Kind.EVENT
                assert frame.call_id not in ended
                events[frame.call_id].append(frame.json())
    for seen in events.values():
        assert [event["text"] for event in seen[:20]] == [f"{n} " for n in range(20)]
        assert seen[20:] == [
            {"finished": "stop", "index": 0},
            {"usage": {"prompt_tokens": 1, "completion_tokens": 20, "cached_tokens": 0}},
        ]


def test_cancel_stops_within_a_token_and_the_others_go_on():
    engine = Counting()
    with hosted(engine, abilities=ABILITIES) as gateway:
        gateway.send(Kind.GENERATE, 1, chat(900))
        gateway.send(Kind.GENERATE, 2, chat(30))
        while gateway.receive().call_id != 1:
            pass
        gateway.send(Kind.CANCEL, 1)
        answers = gateway.answers(2)
        said = engine.said["900"]
    assert answers[1].json()["code"] == "cancelled"
    assert answers[2].kind == Kind.RESULT
    assert said < 100


def test_a_deadline_ends_a_generation_that_runs_and_one_that_waits():
    with hosted(Counting(), abilities=ABILITIES) as gateway:
        for call_id in range(1, 5):
            gateway.send(Kind.GENERATE, call_id, chat(500), ms=60)
        codes = [frame.json()["code"] for frame in gateway.answers(4).values()]
    assert codes == ["deadline_exceeded"] * 4


def test_errors_of_the_engine_keep_code_and_param():
    with hosted(Counting(), abilities=ABILITIES) as gateway:
        gateway.send(Kind.GENERATE, 1, chat(1001))
        gateway.send(Kind.GENERATE, 2, request_to_wire(CompletionRequest("x")))
        gateway.send(Kind.GENERATE, 3, {"nonsense": 1})
        answers = gateway.answers(3)
        assert answers[1].json() | {"message": ""} == {
            "code": "context_length_exceeded",
            "message": "",
            "param": "messages",
            "retry_after_s": None,
        }
        assert answers[2].json()["code"] == "not_supported"
        assert answers[3].kind == Kind.ERROR
        gateway.send(Kind.INFER, 4, {"inputs": [], "outputs": []})
        gateway.send(Kind.PREDICT, 5, {"items": [{}], "options": {}})
        gateway.send(Kind.EMBED, 6, {"inputs": ["a"]})
        assert {f.json()["code"] for f in gateway.answers(3).values()} == {"not_supported"}


def test_draining_waits_for_generations():
    with hosted(Counting(), abilities=ABILITIES) as gateway:
        gateway.send(Kind.GENERATE, 1, chat(30))
        gateway.send(Kind.DRAIN, 0)
        kinds = []
        while not kinds or kinds[-1] != Kind.DRAINED:
            kinds.append(gateway.receive().kind)
        assert kinds.count(Kind.EVENT) == 32
        assert kinds[-2:] == [Kind.RESULT, Kind.DRAINED]
        assert gateway.exit_status() == 0


class Lengths:
    """Embeds a text as (its length, 1); a call with "held" in it waits."""

    signature = NO_TENSORS
    capacity = 1

    def __init__(self):
        self.runs = []
        self.entered, self.go = threading.Event(), threading.Event()

    def embed(self, inputs, stop):
        self.runs.append(list(inputs))
        if "held" in inputs:
            self.entered.set()
            self.go.wait(5)
        if "" in inputs:
            raise ContextLengthExceeded("empty", param="input")
        vectors = np.array([[len(one), 1] for one in inputs], np.float32)
        return Embeddings(vectors, [len(one) for one in inputs])

    def close(self):
        pass


def test_texts_of_several_calls_are_embedded_together_and_a_bad_one_fails_alone():
    engine = Lengths()
    with hosted(engine, max_rows=8, abilities=("embedding",)) as gateway:
        gateway.send(Kind.EMBED, 1, {"inputs": ["held"]})
        engine.entered.wait(5)
        gateway.send(Kind.EMBED, 2, {"inputs": ["a", [5, 6]]})
        gateway.send(Kind.EMBED, 3, {"inputs": ["abc"]})
        gateway.send(Kind.EMBED, 4, {"inputs": [""]})
        time.sleep(0.1)
        engine.go.set()
        answers = gateway.answers(4)
    assert answers[2].json()["usage"] == {"input_tokens": 3}
    vectors = unpack_tensors(answers[2].json()["arrays"], answers[2].body)["embedding"]
    assert vectors.tolist() == [[1, 1], [2, 1]]
    assert answers[3].json()["usage"] == {"input_tokens": 3}
    assert answers[4].json()["code"] == "context_length_exceeded"
    assert engine.runs[1] == ["a", [5, 6], "abc", ""]
