import asyncio
import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.hot_connection import HotConnection, post

from modelry.domain.errors import InvalidInput

pytestmark = pytest.mark.anyio


class Echo:
    """Answers with the request's body and its `X-Tag`; at once, or when a test says so."""

    max_body_bytes = 64

    def __init__(self):
        self.held = None
        self.heads = []
        self.refused = []

    def match(self, url):
        return url if url.startswith(b"/hot") else None

    def admit_large(self, exchange, match):
        pass

    def start(self, exchange, match):
        self.heads.append(exchange.head)
        if exchange.body == b"bad":
            raise InvalidInput("a bad body")
        if exchange.body == b"defect":
            raise RuntimeError("oops")
        tag = exchange.head.header(b"x-tag") or b""
        if self.held is None:
            exchange.respond(b"content-type: text/plain\r\n", exchange.body + tag)
        else:
            self.held.append(exchange)

    def note_refused(self, exchange, match, error):
        self.refused.append(error.code)

    def hold_s(self, exchange, error):
        return 0.0

    def render_error(self, error):
        return error.code.encode()


bodies = st.binary(max_size=20).filter(lambda body: body not in (b"bad", b"defect"))
requests = st.lists(st.tuples(bodies, st.sampled_from([(), (), ("X-Tag: a",)])), max_size=8)


@given(requests, st.lists(st.integers(1, 60), max_size=30))
def test_any_split_of_requests_gives_their_answers(sent, sizes):
    async def run():
        connection = HotConnection(Echo())
        stream = b"".join(post("/hot", body, *lines) for body, lines in sent)
        for size in sizes:
            connection.feed(stream[:size]) if stream[:size] else None
            stream = stream[size:]
        if stream:
            connection.feed(stream)
        got = connection.answers()
        connection.lose()
        return got

    assert asyncio.run(run()) == [(200, body + (b"a" if lines else b"")) for body, lines in sent]


async def test_a_repeated_head_is_read_once_and_other_bodies_are_seen():
    route = Echo()
    connection = HotConnection(route)
    for body in (b"abc", b"xyz", b"abcd", b"1234"):
        connection.feed(post("/hot", body, "X-Tag: t"))
    assert connection.answers() == [(200, b + b"t") for b in (b"abc", b"xyz", b"abcd", b"1234")]
    assert len(set(map(id, route.heads))) == 1
    connection.lose()


@pytest.mark.parametrize(
    "lines",
    [
        ("X-Tag: other",),
        ("X-Tag: t", "X-Tag: u"),
        ("x-tag: t",),
        ("X-Tag: t", "Content-Length: 3"),
        ("X-Tag: t", "Transfer-Encoding: chunked"),
    ],
)
async def test_another_head_is_parsed_anew(lines):
    route = Echo()
    connection = HotConnection(route)
    for _ in range(2):
        connection.feed(post("/hot", b"abc", "X-Tag: t"))
    connection.feed(post("/hot", b"abc", *lines))
    assert len(set(map(id, route.heads[:2]))) == 1
    assert route.heads[2:] == [] or route.heads[2] is not route.heads[0]
    connection.lose()


@pytest.mark.parametrize(
    "length", [b"+3", b" 3", b"03", b"3 ", b"2", b"4", b"", b"-1", b"3a", b"9" * 12]
)
async def test_odd_lengths_mean_what_they_mean_to_the_parser(length):
    def answered(repeats):
        connection = HotConnection(Echo())
        for _ in range(repeats):
            connection.feed(post("/hot", b"abc"))
            assert connection.answers() == [(200, b"abc")]
        connection.feed(post("/hot", b"abc").replace(b": 3", b": " + length))
        found = connection.answers(), connection.transport.closed
        connection.lose()
        return found

    assert answered(0) == answered(3)


async def test_a_request_that_only_starts_like_the_last_one_is_parsed():
    connection = HotConnection(Echo())
    connection.feed(post("/hot", b"abc"))
    half = post("/hot", b"abc")
    connection.feed(half[:-2])
    assert connection.answers() == [(200, b"abc")]
    connection.feed(half[-2:] + half)
    assert connection.answers() == [(200, b"abc"), (200, b"abc")]
    connection.feed(half)
    assert connection.answers() == [(200, b"abc")]
    connection.lose()


async def test_bodies_in_chunks_are_not_taken_for_repeats():
    connection = HotConnection(Echo())
    head = b"POST /hot HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(2):
        connection.feed(head + b"3\r\nabc\r\n0\r\n\r\n")
        connection.feed(head + b"2\r\nab\r\n1\r\nx\r\n0\r\n\r\n")
    assert [body for _, body in connection.answers()] == [b"abc", b"abx"] * 2
    connection.lose()


async def test_errors_and_defects_are_answered_and_the_connection_goes_on(caplog):
    connection = HotConnection(Echo())
    for body in (b"bad", b"bad", b"defect", b"good"):
        connection.feed(post("/hot", body))
    answers = connection.answers()
    assert answers[:2] == [(400, b"invalid_input")] * 2
    assert answers[2:] == [(500, b"internal_error"), (200, b"good")]
    connection.feed(post("/hot", b"x" * 65))
    assert connection.answers() == [(413, b"payload_too_large")]
    assert connection.transport.closed
    connection.lose()


async def test_a_pipelined_request_waits_for_the_one_before(monkeypatch):
    route = Echo()
    route.held = []
    connection = HotConnection(route)
    connection.feed(post("/hot", b"one"))
    connection.feed(post("/hot", b"two"))
    assert len(route.held) == 1
    route.held[0].respond(b"", b"one")
    await asyncio.sleep(0.01)
    # what is pipelined goes to the application, which knows the same endpoints
    assert connection.answers() == [(200, b"one"), (404, b"")]
    connection.lose()


async def test_other_requests_go_to_the_application_in_between():
    connection = HotConnection(Echo())
    connection.feed(post("/hot", b"a"))
    connection.feed(post("/cold", b"b"))
    await asyncio.sleep(0.01)
    connection.feed(post("/hot", b"a"))
    assert connection.answers() == [(200, b"a"), (404, b""), (200, b"a")]
    connection.lose()


async def test_a_lost_connection_cancels_its_call():
    class Call:
        cancelled = False

        def cancel(self):
            self.cancelled = True

    route = Echo()
    route.held = []
    connection = HotConnection(route)
    connection.feed(post("/hot", b"one"))
    call = route.held[0].call = Call()
    connection.lose()
    assert call.cancelled
    route.held[0].respond(b"", b"too late")
    assert connection.answers() == []


async def test_idle_connections_are_closed_and_busy_ones_are_not():
    route = Echo()
    connection = HotConnection(route, keep_alive_s=0.1)
    for _ in range(6):
        connection.feed(post("/hot", b"a"))
        await asyncio.sleep(0.04)
    assert not connection.transport.closed
    connection.feed(post("/hot", b"a")[:-1])
    await asyncio.sleep(0.25)
    assert not connection.transport.closed
    route.held = []
    connection.feed(b"a")
    await asyncio.sleep(0.25)
    assert not connection.transport.closed
    route.held[0].respond(b"", b"")
    await asyncio.sleep(0.25)
    assert connection.transport.closed
    connection.lose()


async def test_a_shut_down_server_closes_after_the_answer():
    route = Echo()
    connection = HotConnection(route)
    connection.feed(post("/hot", b"a"))
    route.held = []
    connection.feed(post("/hot", b"a"))
    connection.protocol.shutdown()
    assert not connection.transport.closed
    route.held[0].respond(b"", b"a")
    assert connection.transport.closed
    connection.lose()


async def test_a_lost_connection_is_freed_at_once():
    connection = HotConnection(Echo())
    connection.feed(post("/hot", b"a"))
    connection.feed(post("/hot", b"a"))
    connection.feed(post("/cold", b"a"))
    await asyncio.sleep(0.01)
    connection.lose()
    await asyncio.sleep(0)
    gc.disable()
    try:
        protocol = weakref.ref(connection.protocol)
        del connection
        assert protocol() is None
    finally:
        gc.enable()


async def test_connections_beyond_the_most_are_told_and_closed(monkeypatch):
    first = HotConnection(Echo())
    protocol = type(first.protocol)
    monkeypatch.setattr(protocol, "most_connections", 1)
    second = HotConnection.beside(first)
    await asyncio.sleep(0.01)
    assert [status for status, _ in second.answers()] == [503]
    assert second.transport.closed
    second.feed(post("/hot", b"a"))
    assert second.answers() == []
    second.lose()
    first.feed(post("/hot", b"a"))
    assert first.answers() == [(200, b"a")]
    first.lose()
