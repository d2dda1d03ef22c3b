import asyncio
import socket

import pytest

from modelry.adapters.processes.link import WorkerLink
from modelry.domain.access import ROLE_PERMISSIONS, Principal, Role
from modelry.domain.deployments import Limits
from modelry.domain.errors import ModelryError, ReplicaLost
from modelry.runtime_api.frames import FrameDecoder, Kind, encode, encode_error
from modelry.services.inference.call import DoorCall
from modelry.services.inference.replica_group import ReplicaGroup
from modelry.services.quotas.accounts import Accounts

pytestmark = pytest.mark.anyio

OWNER = Principal("t1", "k1", Role.OWNER, ROLE_PERMISSIONS[Role.OWNER])


class Noted(DoorCall):
    """Keeps what it was told."""

    def __init__(self, header=b"{}", body=b""):
        super().__init__(OWNER, Kind.INFER, header, body)
        self.told = []

    def on_result(self, header, body):
        self.told.append((header, body))

    def on_error(self, error):
        self.told.append(error)


class Linked:
    """A link and the worker's end of its socket."""

    def __init__(self):
        self.group = ReplicaGroup(
            ("t1", "d", 1, "tensor"), Limits(), Accounts(open_requests=10_000), print
        )
        self.control, self.lost = [], []
        self.link = WorkerLink(
            "r1", self.group, self.control.append, lambda: self.lost.append(True)
        )
        self.link.capacity = 10_000
        ours, self.worker = socket.socketpair()
        self.worker.settimeout(5)
        self.ours = ours
        self.decoder = FrameDecoder()

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self.link, sock=self.ours)
        self.link.send_through(self.ours)
        self.group.attach(self.link)
        return self

    async def __aexit__(self, *_):
        self.link.close()
        self.worker.close()
        await asyncio.sleep(0.01)

    def submit(self, *calls):
        for call in calls:
            self.group.submit(call)

    async def frames(self, count):
        found = []
        while len(found) < count:
            data = await asyncio.to_thread(self.worker.recv, 1 << 20)
            assert data
            found += self.decoder.feed(data)
        return found

    async def answer(self, *frames):
        self.worker.sendall(b"".join(frames))
        await asyncio.sleep(0.02)


async def test_calls_arrive_in_order_whole_and_a_cancellation_after_its_call():
    async with Linked() as linked:
        calls = [Noted(b'{"n":%d}' % number, bytes(number)) for number in range(50)]
        linked.submit(*calls)
        linked.link.cancel(calls[49])
        frames = await linked.frames(51)
    assert [frame.header for frame in frames[:50]] == [call.header for call in calls]
    assert [len(frame.body) for frame in frames[:50]] == list(range(50))
    assert (frames[50].kind, frames[50].call_id) == (Kind.CANCEL, frames[49].call_id)


@pytest.mark.parametrize("size", [3_000, 300_000])
async def test_a_worker_that_reads_late_gets_everything_in_order(size):
    async with Linked() as linked:
        sent = 0
        for _ in range(8):
            calls = [Noted(b'{"n":%d}' % (sent + n), b"%03d" % n + bytes(size)) for n in range(20)]
            linked.submit(*calls)
            sent += 20
            await asyncio.sleep(0)
        frames = await linked.frames(sent)
    assert [frame.json()["n"] for frame in frames] == list(range(sent))
    assert all(len(frame.body) == size + 3 for frame in frames)
    assert [frame.body[:3] for frame in frames[:20]] == [b"%03d" % n for n in range(20)]


async def test_answers_go_to_their_calls_and_free_their_slots():
    async with Linked() as linked:
        first, second, third = calls = [Noted() for _ in range(3)]
        linked.submit(*calls)
        error = encode_error(second.call_id, ModelryError("no"))
        result = encode(Kind.RESULT, third.call_id, b"{}", b"three")
        await linked.answer(result, error, encode(Kind.PONG, 0, b'{"busy_s":0}'))
        assert third.told == [(b"{}", b"three")]
        assert second.told[0].message == "no"
        assert first.told == []
        assert linked.link.in_flight == 1
        assert [frame.kind for frame in linked.control] == [Kind.PONG]


async def test_late_and_doubled_answers_are_left_out():
    async with Linked() as linked:
        call = Noted()
        linked.submit(call)
        result = encode(Kind.RESULT, call.call_id, b"{}", b"x")
        await linked.answer(result, result, encode(Kind.RESULT, 999, b"{}", b"y"))
        assert call.told == [(b"{}", b"x")]
        assert linked.link.in_flight == 0


async def test_a_lost_worker_fails_open_calls_and_those_that_were_about_to_be_sent():
    linked = Linked()
    async with linked:
        open_call, unsent = Noted(), Noted()
        linked.submit(open_call)
        await linked.frames(1)
        linked.worker.close()
        linked.submit(unsent)
        await asyncio.sleep(0.05)
        for call in (open_call, unsent):
            assert isinstance(call.told[0], ReplicaLost)
        assert linked.lost == [True]
        assert not linked.group.links
        assert linked.link.in_flight == 0


async def test_bytes_that_are_no_frame_end_the_link():
    async with Linked() as linked:
        call = Noted()
        linked.submit(call)
        await linked.answer(b"\xff" * 24)
        assert isinstance(call.told[0], ReplicaLost)
        assert linked.lost == [True]


async def test_a_caller_that_leaves_has_used_the_replica_until_then():
    async with Linked() as linked:
        call = Noted()
        linked.submit(call)
        await asyncio.sleep(0.02)
        call.cancel()
        (series,) = linked.group.meter.take().series
        assert series.key.status == "cancelled"
        assert series.engine_us[0] >= 15_000
