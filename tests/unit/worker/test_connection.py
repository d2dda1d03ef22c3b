import contextlib
import itertools
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelry.runtime_api.frames import FrameDecoder, FrameError, Kind, encode
from modelry.sandbox.memory_limit import MemoryLimit, private_bytes
from modelry.worker.connection import FrameReceiver, FrameSender
from modelry.worker.reading_turns import ReadingTurns

frames = st.lists(
    st.tuples(
        st.sampled_from([Kind.INFER, Kind.CANCEL]),
        st.integers(1, 2**32 - 1),
        st.binary(max_size=30),
        st.integers(0, 5000),
    ),
    max_size=6,
)


class Chunks:
    """A socket that gives a stream in pieces of the given sizes, then as much as is asked for."""

    def __init__(self, stream, sizes):
        self.stream, self.sizes = stream, list(sizes)

    def recv_into(self, view):
        size = min(len(view), self.sizes.pop(0) if self.sizes else len(view))
        part, self.stream = self.stream[:size], self.stream[size:]
        view[: len(part)] = part
        return len(part)


def until_the_end(receiver):
    with contextlib.suppress(EOFError):
        while True:
            yield receiver.receive()


@given(frames, st.lists(st.integers(1, 3000), max_size=20))
def test_any_split_of_the_stream_gives_the_same_frames(sent, sizes):
    stream = b"".join(encode(kind, n, header, b"b" * size) for kind, n, header, size in sent)
    receiver = FrameReceiver(Chunks(stream, sizes))
    got = list(itertools.chain.from_iterable(until_the_end(receiver)))
    assert [(f.kind, f.call_id, f.header, len(f.body)) for f in got] == sent


def test_frames_larger_than_the_buffer_arrive_whole_and_the_buffer_shrinks_again():
    large = bytes(range(256)) * 20_000
    stream = encode(Kind.INFER, 1, b"{}", b"small") + encode(Kind.INFER, 2, b"{}", large)
    receiver = FrameReceiver(Chunks(stream + encode(Kind.PING, 3), [100, 70_000]))
    got = []
    while len(got) < 3:
        got += receiver.receive()
    assert [len(frame.body) for frame in got] == [5, len(large), 0]
    assert got[1].body == large
    assert len(receiver._buffer) == 1 << 20


def test_lengths_beyond_the_limit_are_refused():
    with pytest.raises(FrameError):
        FrameReceiver(Chunks(b"\xff" * 24, [])).receive()


def test_frames_of_many_threads_go_out_whole():
    ours, theirs = socket.socketpair()
    sender = FrameSender(theirs)

    def send(number):
        for call_id in range(200):
            sender.send(encode(Kind.EVENT, number * 1000 + call_id, b"{}", b"x" * (call_id * 7)))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    decoder = FrameDecoder()
    seen = {}
    with ours, theirs:
        ours.settimeout(10)
        while sum(map(len, seen.values())) < 1200:
            for frame in decoder.feed(ours.recv(65536)):
                number, call_id = divmod(frame.call_id, 1000)
                assert len(frame.body) == call_id * 7
                seen.setdefault(number, []).append(call_id)
        for thread in threads:
            thread.join()
    assert all(calls == list(range(200)) for calls in seen.values())


def test_sending_to_a_gateway_that_is_gone_is_no_error():
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        sender = FrameSender(theirs)
        for _ in range(3):
            sender.send(encode(Kind.PONG, 0))


def test_turns_are_passed_on_only_while_they_are_lent():
    turns = ReadingTurns()
    turns.wait()
    turns.pass_on_if_lent_since(float("inf"))
    turns.lend()
    turns.pass_on_if_lent_since(0.0)
    assert turns.take_back()
    turns.lend()
    turns.pass_on_if_lent_since(float("inf"))
    assert not turns.take_back()
    turns.wait()
    turns.lend()
    assert turns.take_back()


def test_a_memory_limit_tells_what_is_used_and_allowed():
    assert MemoryLimit(private_bytes() + 2**30).excess() is None
    said = MemoryLimit(2**20).excess()
    assert "1 MiB" in said
    assert "memory_bytes" in said
