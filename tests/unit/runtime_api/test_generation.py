import orjson
import pytest

from modelry.runtime_api.generation import (
    ChatRequest,
    CompletionRequest,
    Finished,
    Sampling,
    TextDelta,
    TokenLogprob,
    TokenUsage,
    ToolCallDelta,
    event_from_wire,
    event_to_wire,
    request_from_wire,
    request_to_wire,
)

SAMPLING = Sampling(max_tokens=5, temperature=0.0, stop=("a", "b"), logit_bias={7: -100.0})


@pytest.mark.parametrize(
    "request_",
    [
        ChatRequest([{"role": "user", "content": "hi"}], SAMPLING, n=2, top_logprobs=3),
        ChatRequest([], tools=[{"type": "function"}], tool_choice="get", json_schema={}),
        CompletionRequest("hello", SAMPLING, echo=True),
        CompletionRequest([1, 2, 3]),
    ],
)
def test_requests_survive_the_wire(request_):
    assert request_from_wire(orjson.loads(orjson.dumps(request_to_wire(request_)))) == request_


@pytest.mark.parametrize(
    "event",
    [
        TextDelta(1, "é"),
        TextDelta(0, "x", (TokenLogprob("x", -0.5, b"\xff", (("y", -1.0, b"y"),)),)),
        ToolCallDelta(0, 1, "call_1", "get", '{"a":'),
        Finished(0, "length"),
        TokenUsage(3, 4, 1),
    ],
)
def test_events_survive_the_wire(event):
    assert event_from_wire(orjson.loads(orjson.dumps(event_to_wire(event)))) == event
