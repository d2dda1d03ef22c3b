"""Which calls are captured, how much of them, and what a full queue does."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from modelry.domain.access import ROLE_PERMISSIONS, Principal, Role
from modelry.domain.deployments import Limits
from modelry.domain.errors import Cancelled
from modelry.runtime_api.frames import Kind
from modelry.services.inference.call import RawCall, StreamedCall
from modelry.services.inference.replica_group import ReplicaGroup
from modelry.services.privacy import capture
from modelry.services.privacy.capture import CapturedCall, CaptureQueue, DeploymentRecorder
from modelry.services.privacy.ports import LoggingRule
from modelry.services.privacy.readable import Reader, whole_generation
from modelry.services.quotas.accounts import Accounts
from modelry.testing.replica_pool import FakeLink

pytestmark = pytest.mark.anyio

OWNER = Principal("t1", "k1", Role.OWNER, ROLE_PERMISSIONS[Role.OWNER])
STRANGER = replace(OWNER, tenant_id="t2")
RULE = LoggingRule(
    "t1", "d", 1.0, 7, True, True, True, 4096, False, True, datetime.now(UTC), "k1"
)  # fmt: skip
HEADER = orjson.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "size": 4}], "outputs": []}
)


class Kept:
    """Takes what a queue gives."""

    def __init__(self) -> None:
        self.calls: list[CapturedCall] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, tenant_id: str, calls: Sequence[CapturedCall]) -> None:
        self.go.wait(10)
        assert {one.rule.tenant_id for one in calls} == {tenant_id}
        self.calls += calls


def group_with(rule: LoggingRule, queue: CaptureQueue) -> ReplicaGroup:
    group = ReplicaGroup(("t1", "d", 3, "tensor"), Limits(), Accounts(), lambda: None)
    group.attach(FakeLink("r", group))
    group.recorder = DeploymentRecorder(rule, queue)
    return group


async def asked(group: ReplicaGroup, principal: Principal = OWNER, body: bytes = b"abcd") -> None:
    call = RawCall(principal, Kind.INFER, HEADER, body)
    group.submit(call)
    await call.answer()


async def test_only_calls_of_the_own_tenant_are_captured():
    kept = Kept()
    queue = CaptureQueue(kept)
    queue.start()
    group = group_with(RULE, queue)
    await asked(group)
    await asked(group, STRANGER)
    group.recorder = None
    await asked(group)
    queue.stop()
    (one,) = kept.calls
    assert (one.key_id, one.version_number, one.task, one.status) == ("k1", 3, "tensor", "ok")
    assert (one.header, one.body) == (HEADER, b"abcd")
    assert queue.dropped == {}


async def test_no_share_of_the_calls_is_captured_at_rate_zero():
    queue = CaptureQueue(Kept())
    queue.start()
    group = group_with(replace(RULE, sample_rate=0.0), queue)
    for _ in range(50):
        await asked(group)
    queue.stop()
    assert queue._keep.calls == []


async def test_large_bodies_are_told_by_their_size():
    kept = Kept()
    queue = CaptureQueue(kept)
    queue.start()
    await asked(group_with(replace(RULE, max_bytes=100), queue), body=b"x" * 1000)
    await asked(group_with(replace(RULE, tensor_values=False), queue), body=b"x" * 8)
    queue.stop()
    large, small = kept.calls
    assert (large.body, large.sizes[1]) == (None, 1000)
    assert small.body is None
    assert small.header == HEADER


async def test_a_full_queue_drops_and_counts(monkeypatch):
    monkeypatch.setattr(capture, "MAX_QUEUED", 5)
    kept = Kept()
    queue = CaptureQueue(kept)
    kept.go.clear()
    queue.start()
    group = group_with(RULE, queue)
    for _ in range(120):
        await asked(group)
    kept.go.set()
    queue.stop()
    assert queue.dropped["t1"] > 0
    assert len(kept.calls) + queue.dropped["t1"] == 120
    await asked(group)
    assert len(kept.calls) + queue.dropped["t1"] == 121, "after its end it takes nothing"


async def test_a_failing_store_costs_the_batch_alone(caplog):
    words = b"SECRET WORDS"
    failures = iter([True, False])
    kept: list[CapturedCall] = []

    def keep(tenant_id: str, calls: Sequence[CapturedCall]) -> None:
        if next(failures, False):
            raise OSError(words.decode())
        kept.extend(calls)

    queue = CaptureQueue(keep)
    queue.start()
    group = group_with(RULE, queue)
    await asked(group, body=words[:4])
    queue.stop()
    queue.start()
    await asked(group, body=words[:4])
    queue.stop()
    assert (queue.dropped["t1"], len(kept)) == (1, 1)
    assert words.decode() not in caplog.text


async def test_a_stream_is_captured_up_to_where_its_caller_left():
    kept = Kept()
    queue = CaptureQueue(kept)
    queue.start()
    group = ReplicaGroup(("t1", "d", 1, "chat"), Limits(), Accounts(), lambda: None)
    group.attach(FakeLink("r", group, answer=lambda _: None))
    for rule in (RULE, replace(RULE, max_bytes=1024)):
        group.recorder = DeploymentRecorder(rule, queue)
        call = StreamedCall(OWNER, b'{"chat": {}}')
        group.submit(call)
        for number in range(20):
            call.on_event(orjson.dumps({"text": f"{number} ", "index": 0}), b"")
        call.fail(Cancelled("gone"))
    queue.stop()
    whole, long = kept.calls
    assert whole.status == "cancelled"
    said = whole_generation(whole.events)
    assert said["choices"][0]["text"] == "".join(f"{number} " for number in range(20))
    assert long.events == []
    assert long.out_bytes > 1024


def read(kind: Kind, asked_for: Any, body: bytes | None = b"", **options: bool) -> Any:
    reader = Reader(**{"attachments": False, "tensor_values": False} | options)
    return reader.input(kind, orjson.dumps(asked_for), body)


def test_frames_are_read():
    items = {"items": [{"image": {"$bytes": [1, 3]}, "note": "n"}], "options": {}}
    left = {"items": [{"image": {"left_out_bytes": 3}, "note": "n"}], "options": {}}
    assert read(Kind.PREDICT, items, b"abcde") == left
    assert read(Kind.PREDICT, items, None, attachments=True) == left
    kept = read(Kind.PREDICT, items, b"abcde", attachments=True)
    assert kept["items"][0]["image"] == {"base64": "YmNk"}
    chat = {"chat": {"messages": [{"content": "data:image/png;base64,AA"}], "cache_salt": "s"}}
    assert read(Kind.GENERATE, chat) == {
        "chat": {"messages": [{"content": {"left_out_bytes": 24}}]}
    }
    tensors = orjson.loads(HEADER)
    (described,) = read(Kind.INFER, tensors, b"\0\0\x80?")["inputs"]
    assert described == {"name": "x", "datatype": "FP32", "shape": [1]}
    (valued,) = read(Kind.INFER, tensors, b"\0\0\x80?", tensor_values=True)["inputs"]
    assert valued["values"] == [1.0]
    (cut,) = read(Kind.INFER, tensors, None, tensor_values=True)["inputs"]
    assert cut["values"] == {"left_out_bytes": 4}


def test_explanations_are_read_as_what_they_explain():
    wish = {"wish": {"method": None}}
    tensors = {**orjson.loads(HEADER), "baseline": 0.0, **wish}
    (described,) = read(Kind.EXPLAIN, tensors, b"\0\0\x80?")["inputs"]
    assert described == {"name": "x", "datatype": "FP32", "shape": [1]}
    image = {"items": [{"image": {"$bytes": [1, 3]}}], **wish}
    assert read(Kind.EXPLAIN, image, b"abcde")["items"] == [{"image": {"left_out_bytes": 3}}]
    said = {"messages": [{"role": "user", "content": "data:image/png;base64,AA"}]}
    chat = read(Kind.EXPLAIN, {"items": [said], "cache_salt": "s", **wish})
    assert chat["items"][0]["messages"][0]["content"] == {"left_out_bytes": 24}
    assert "cache_salt" not in chat


def test_tool_calls_are_put_together():
    events = [
        {"tool": {"index": 0, "call_index": 0, "name": "find", "arguments": '{"q":'}},
        {"tool": {"index": 0, "call_index": 0, "name": None, "arguments": "1}"}},
        {"finished": "tool_calls", "index": 0},
        {"usage": {"prompt_tokens": 1}},
    ]
    (choice,) = whole_generation(events)["choices"]
    assert choice["tool_calls"] == [{"name": "find", "arguments": '{"q":1}'}]
    assert choice["finish_reason"] == "tool_calls"
