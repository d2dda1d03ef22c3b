"""Which requests are sent again; the server is a function."""

import asyncio
import time

import httpx2
import pytest

from modelry.client import AsyncClient, Client
from modelry.client.errors import (
    ConnectionLost,
    ModelFailed,
    ModelNotReady,
    NotReachable,
    Overloaded,
    QuotaExceeded,
    ReplicaLost,
    TimedOut,
    Unavailable,
    UnexpectedAnswer,
)
from modelry.client.retries import RetryPolicy

URL = "http://modelry.test"
HEADERS = {"retry-after": "1"}


def full():
    return refusal(503, "overloaded", **HEADERS)


def lost():
    return refusal(503, "replica_lost")


def empty():
    return httpx2.Response(200, json={"models": []})


def refusal(status, code=None, **headers):
    return httpx2.Response(status, json={"error": {"code": code, "message": "x"}}, headers=headers)


class Script:
    """Answers in turn; exceptions are raised."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer


@pytest.fixture(autouse=True)
def slept(monkeypatch):
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    return pauses


def call(script, work, **options):
    with Client(URL, transport=httpx2.MockTransport(script), **options) as client:
        return work(client)


def test_a_server_that_is_not_up_yet_is_tried_again(slept):
    script = Script(httpx2.ConnectError("refused"), httpx2.ConnectTimeout("late"), empty)
    assert call(script, lambda client: client.models.list()) == []
    assert len(slept) == 2
    assert 0 < slept[0] <= 0.2 < slept[1] * 2 <= 0.8


def test_a_connect_error_is_told_in_the_end_even_for_changes(slept):
    script = Script(*[httpx2.ConnectError("refused")] * 3)
    with pytest.raises(NotReachable, match=URL):
        call(script, lambda client: client.keys.create("x"))
    assert len(slept) == 2


def test_what_changes_something_is_not_sent_again_when_its_fate_is_unknown(slept):
    script = Script(httpx2.ReadError("cut"))
    with pytest.raises(ConnectionLost):
        call(script, lambda client: client.keys.create("x"))
    assert slept == []


def test_a_prediction_is_sent_again_when_the_server_is_full(slept):
    done = httpx2.Response(
        200, json={"id": "1", "model": "m", "choices": [{"index": 0, "message": {"content": "hi"}}]}
    )
    script = Script(full, lost, done)
    assert call(script, lambda client: client.chat("m", "hello")).text == "hi"
    assert slept[0] == 1.0
    assert script.requests[0].content == script.requests[2].content


def test_a_stream_is_begun_again_when_the_server_was_full():
    chunk = b'data: {"choices": [{"index": 0, "delta": {"content": "hi"}}]}\n\ndata: [DONE]\n\n'
    script = Script(full, httpx2.Response(200, content=chunk))
    deltas = call(script, lambda client: list(client.chat("m", "hello", stream=True)))
    assert [delta.text for delta in deltas] == ["hi"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal(500, "model_failed"), ModelFailed),
        (refusal(503, "model_not_ready"), ModelNotReady),
        (refusal(429, **{"retry-after": "3600"}), QuotaExceeded),
        (httpx2.ReadTimeout("slow"), TimedOut),
        (httpx2.Response(502, text="<html>"), Unavailable),
        (httpx2.Response(404, text="<html>"), UnexpectedAnswer),
        (httpx2.Response(302, headers={"location": "/"}), UnexpectedAnswer),
        (httpx2.Response(200, text="<html>"), UnexpectedAnswer),
        (httpx2.Response(200, json={"models": 3}), UnexpectedAnswer),
        (httpx2.Response(200, json={"models": [{}]}), UnexpectedAnswer),
    ],
)  # fmt: skip
def test_the_rest_is_told_at_once(slept, answer, error):
    with pytest.raises(error):
        call(Script(answer), lambda client: client.models.list())
    assert slept == []


def test_patience_has_an_end():
    script = Script(*[full] * 3)
    with pytest.raises(Overloaded) as caught:
        call(script, lambda client: client.embed("m", "x"))
    assert caught.value.retry_after_s == 1.0
    assert len(script.requests) == 3


def test_retries_can_be_turned_off():
    with pytest.raises(ReplicaLost):
        call(Script(lost), lambda client: client.embed("m", "x"), max_retries=0)


def test_the_async_client_retries_alike(slept):
    script = Script(httpx2.ConnectError("refused"), full, empty)

    async def work():
        transport = httpx2.MockTransport(script)
        async with AsyncClient(URL, transport=transport) as client:
            return await client.models.list()

    assert asyncio.run(work()) == []
    assert slept[1] == 1.0


def test_pauses_grow_up_to_a_bound():
    policy = RetryPolicy(first_pause_s=1, longest_pause_s=5)
    assert 0.5 <= policy.pause_s(0) <= 1
    assert 2.5 <= policy.pause_s(1000) <= 5


def test_a_stream_that_ends_early_is_an_error():
    chunk = b'data: {"choices": [{"index": 0, "delta": {"content": "hi"}}]}\n\n'
    script = Script(httpx2.Response(200, content=chunk))
    with pytest.raises(ConnectionLost):
        call(script, lambda client: list(client.chat("m", "hello", stream=True)))


@pytest.mark.parametrize("event", [b"{", b"[1]", b'{"choices": 3}', b'{"choices": [{}]}', b"{}"])
def test_a_stream_of_something_else_is_an_error(event):
    script = Script(httpx2.Response(200, content=b"data: " + event + b"\n\n"))
    with pytest.raises(UnexpectedAnswer):
        call(script, lambda client: list(client.chat("m", "hello", stream=True)))
