import asyncio

import pytest

from modelry.domain.deployments import Limits
from modelry.domain.errors import (
    Cancelled,
    DeadlineExceeded,
    ModelFailed,
    ModelNotReady,
    Overloaded,
    QuotaExceeded,
    ReplicaLost,
)
from modelry.domain.quotas import QuotaLimits
from modelry.runtime_api.frames import Kind
from modelry.services.inference.call import RawCall, StreamedCall
from modelry.services.quotas.accounts import Accounts
from modelry.testing.replica_pool import FakeLink

pytestmark = pytest.mark.anyio


def call(principal, body=b"x"):
    return RawCall(principal, Kind.INFER, b"{}", body)


async def test_a_call_is_answered_and_counted(make_group, principal):
    group = make_group()
    group.attach(FakeLink("r", group))
    one = call(principal, b"abc")
    group.submit(one)
    assert await one.answer() == (b"{}", b"abc")
    assert group.in_flight == 0
    assert group.accounts.open_requests() == 0
    (series,) = group.meter.take().series
    assert (len(series), series.key.key_id, series.key.replica_id) == (1, "k1", "r")
    assert group.meter.take().series == ()


async def test_a_group_is_in_use_until_its_last_answer(make_group, principal):
    group = make_group()
    link = FakeLink("r", group, answer=lambda _: None)
    group.attach(link)
    long = call(principal)
    group.submit(long)
    await asyncio.sleep(0.05)
    asked = group.last_used
    link.finish(long)
    assert group.last_used - asked >= 0.05


async def test_the_least_loaded_replica_gets_the_next_call(make_group, principal):
    group = make_group()
    links = [FakeLink(name, group, answer=lambda _: None) for name in "ab"]
    for link in links:
        group.attach(link)
    for _ in range(6):
        group.submit(call(principal))
    assert [link.in_flight for link in links] == [3, 3]


async def test_calls_wait_for_a_slot_in_order(make_group, principal):
    group = make_group()
    link = FakeLink("r", group, answer=lambda _: None, capacity=1)
    group.attach(link)
    first, second, third = (call(principal, bytes([i])) for i in range(3))
    for one in (first, second, third):
        group.submit(one)
    assert len(group.waiting) == 2
    link.finish(first)
    assert link.calls == [second]
    link.finish(second)
    assert link.calls == [third]


async def test_the_queue_is_bounded(make_group, principal):
    group = make_group(Limits(queue=2))
    group.submit(call(principal))
    group.submit(call(principal))
    with pytest.raises(Overloaded) as caught:
        group.submit(call(principal))
    assert caught.value.retry_after_s == 1
    assert group.in_flight == group.accounts.open_requests() == 2


async def test_a_tenant_has_a_share(make_group, principal):
    accounts = Accounts(open_requests=1)
    first, second = make_group(accounts=accounts), make_group(accounts=accounts)
    first.submit(call(principal))
    with pytest.raises(QuotaExceeded):
        second.submit(call(principal))


async def test_waiting_wakes_a_replica_and_attach_answers(make_group, principal):
    woken = []
    group = make_group(wake=lambda: woken.append(1))
    one = call(principal)
    group.submit(one)
    assert woken
    group.attach(FakeLink("r", group))
    assert await one.answer()


async def test_a_call_that_waits_too_long_for_loading_is_told_to_retry(make_group, principal):
    group = make_group(Limits(load_timeout_s=0.0))
    one = call(principal)
    group.submit(one)
    await asyncio.sleep(0)
    group.expire()
    with pytest.raises(ModelNotReady) as caught:
        await one.answer()
    assert caught.value.retry_after_s
    assert not group.waiting


async def test_an_overdue_call_is_told_and_its_replica_reported(make_group, principal, monkeypatch):
    monkeypatch.setattr("modelry.services.inference.replica_group.OVERDUE_GRACE_S", 0.0)
    group = make_group(Limits(deadline_s=0.0))
    link = FakeLink("r", group, answer=lambda _: None)
    group.attach(link)
    reported = []
    group.on_overdue = lambda *args: reported.append(args)
    one = call(principal)
    group.submit(one)
    group.expire()
    assert reported == [(link, one)]
    with pytest.raises(DeadlineExceeded):
        await one.answer()


async def test_failure_is_told_to_those_that_wait_and_come(make_group, principal):
    group = make_group()
    one = call(principal)
    group.submit(one)
    group.fail_waiting("bad magic")
    with pytest.raises(ModelFailed, match="bad magic"):
        await one.answer()
    with pytest.raises(ModelFailed, match="bad magic"):
        group.submit(call(principal))
    assert group.accounts.open_requests() == 0


async def test_leaving_cancels_on_the_replica(make_group, principal):
    group = make_group()
    link = FakeLink("r", group, answer=lambda _: None)
    group.attach(link)
    one = call(principal)
    group.submit(one)
    task = asyncio.create_task(one.answer())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert link.cancelled == [one]
    assert group.in_flight == group.accounts.open_requests() == link.in_flight == 0


async def test_leaving_the_queue_frees_the_place(make_group, principal):
    group = make_group()
    one = call(principal)
    group.submit(one)
    one.cancel()
    assert not group.waiting
    assert group.accounts.open_requests() == 0
    with pytest.raises(Cancelled):
        await one.answer()


async def test_a_lost_replica_fails_its_calls_and_leaves(make_group, principal):
    group = make_group()
    link = FakeLink("r", group, answer=lambda _: None)
    group.attach(link)
    one = call(principal)
    group.submit(one)
    link.lose()
    with pytest.raises(ReplicaLost):
        await one.answer()
    assert not group.is_ready
    assert group.accounts.open_requests() == 0


async def test_neither_a_full_queue_nor_a_hand_over_costs_a_request(make_group, principal):
    accounts = Accounts()
    accounts.apply({("t1", "k1"): QuotaLimits(requests_per_second=9, requests_per_day=9)})
    old, new = (make_group(Limits(queue=1), accounts) for _ in range(2))
    moved = call(principal)
    old.submit(moved)
    for _ in range(3):
        with pytest.raises(Overloaded):
            old.submit(call(principal))
    old.hand_over(new)
    gate = accounts.of(principal).key.gates[0]
    assert (gate.day, gate.pending, accounts.open_requests()) == (1, 1, 1)
    assert 8 <= gate.bucket.level < 9
    new.attach(FakeLink("r", new))
    await moved.answer()
    assert (gate.day, gate.pending, accounts.open_requests()) == (1, 1, 0)


async def test_hand_over_moves_what_waits(make_group, principal):
    old, new = make_group(), make_group()
    one = call(principal)
    old.submit(one)
    old.hand_over(new)
    new.attach(FakeLink("r", new))
    assert await one.answer()
    assert old.in_flight == 0


async def test_stream_gives_events_in_order_and_counts_tokens(make_group, principal):
    group = make_group()
    link = FakeLink("r", group, answer=lambda _: None)
    group.attach(link)
    one = StreamedCall(principal, b"{}")
    group.submit(one)
    one.on_event(b'{"text":"a","index":0}', b"")
    one.on_event(b'{"text":"b","index":0}', b"")
    one.on_event(b'{"usage":{"prompt_tokens":3,"completion_tokens":2,"cached_tokens":1}}', b"")
    link.finish(one)
    texts = [event.get("text") async for event in one.events()]
    assert texts == ["a", "b", None]
    (series,) = group.meter.take().series
    assert series.units == [(0, {"input_tokens": 3, "output_tokens": 2, "cached_tokens": 1})]


async def test_leaving_a_stream_cancels_it(make_group, principal):
    group = make_group()
    link = FakeLink("r", group, answer=lambda _: None)
    group.attach(link)
    one = StreamedCall(principal, b"{}")
    group.submit(one)
    one.on_event(b'{"text":"a","index":0}', b"")
    events = one.events()
    await anext(events)
    await events.aclose()
    assert link.cancelled == [one]
