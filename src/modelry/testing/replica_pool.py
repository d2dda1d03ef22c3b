"""A replica pool without processes: replicas answer in this process and fail on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from modelry.domain.errors import Cancelled, ReplicaLost
from modelry.services.deployments.ports import OpenFile, Replica, ReplicaEnd, ReplicaSpec
from modelry.services.inference.call import Call
from modelry.services.inference.replica_group import ReplicaGroup

Answer = Callable[[Call], tuple[bytes, bytes] | None]
"""Gives a call's result, or None to leave the call running."""


def echo(call: Call) -> tuple[bytes, bytes]:
    """Answers with what was sent."""
    return call.header, bytes(call.body)


class FakeLink:
    """A `ReplicaLink` that answers in the next turn of the event loop."""

    def __init__(
        self, replica_id: str, group: ReplicaGroup, answer: Answer = echo, capacity: int = 4
    ) -> None:
        self.replica_id = replica_id
        self.capacity = capacity
        self.in_flight = 0
        self.engine_clock = 0.0
        self.cancelled: list[Call] = []
        self.calls: list[Call] = []
        self._group = group
        self._answer = answer
        self._idle = asyncio.Event()
        self._idle.set()

    async def drained(self, timeout_s: float) -> None:
        """Wait until no call is open, at most `timeout_s` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return

    def send(self, call: Call) -> None:
        """Start the call."""
        self.in_flight += 1
        call.engine_from = self.engine_clock
        self._idle.clear()
        self.calls.append(call)
        asyncio.get_running_loop().call_soon(self._run, call)

    def _run(self, call: Call) -> None:
        if call not in self.calls:
            return
        result = self._answer(call)
        if result is not None:
            self.finish(call, *result)

    def finish(self, call: Call, header: bytes = b"{}", body: bytes = b"") -> None:
        """End a call that was left running."""
        self._release(call)
        call.finish(header, body)
        self._group.pump()

    def cancel(self, call: Call) -> None:
        """Note it and free the slot, as an engine does that stops at once."""
        if call in self.calls:
            self.cancelled.append(call)
            self._release(call)
            call.fail(Cancelled("The call was cancelled."))
            asyncio.get_running_loop().call_soon(self._group.pump)

    def _release(self, call: Call) -> None:
        self.calls.remove(call)
        self.in_flight -= 1
        if not self.calls:
            self._idle.set()

    def lose(self) -> None:
        """What happens when a worker dies: it leaves the group, its calls are told."""
        self._group.detach(self)
        calls, self.calls = self.calls, []
        self.in_flight = 0
        for call in calls:
            call.fail(ReplicaLost("The worker process ended unexpectedly.", retry_after_s=1))


class FakeReplica:
    """A `Replica` without a process."""

    def __init__(self, spec: ReplicaSpec, pool: FakeReplicaPool) -> None:
        self.spec = spec
        self.pid: int | None = 4_000_000 + len(pool.started)
        self.link = FakeLink(spec.replica_id, spec.group, pool.answer, pool.capacity)
        self.ready_info: Mapping[str, Any] = {"capacity": pool.capacity, "abilities": []}
        self._load_failure = pool.load_failure
        self._hold_load = pool.hold_load
        self._ended: asyncio.Future[ReplicaEnd] = asyncio.get_running_loop().create_future()

    async def ready(self) -> ReplicaEnd | None:
        """Ready at once, unless the pool was told otherwise."""
        if self._hold_load is not None:
            await asyncio.wait((asyncio.ensure_future(self._hold_load.wait()), self._ended),
                               return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
        if self._load_failure is not None:
            self._end(self._load_failure)
        return self._ended.result() if self._ended.done() else None

    async def ended(self) -> ReplicaEnd:
        """Wait for `kill` or `stop`."""
        return await asyncio.shield(self._ended)

    async def stop(self, drain_s: float) -> None:
        """Let open calls end, then end."""
        await self.link.drained(drain_s)
        self._end(ReplicaEnd("stopped"))

    def kill(self, reason: str) -> None:
        """End now."""
        self._end(ReplicaEnd(reason))

    def _end(self, end: ReplicaEnd) -> None:
        self.link.lose()
        if not self._ended.done():
            self._ended.set_result(end)

    def logs(self) -> list[str]:
        """One line."""
        return [f"replica {self.spec.replica_id} of {self.spec.load.task}"]

    def memory_bytes(self) -> int | None:
        """A made-up size while it lives."""
        return None if self._ended.done() else 1


class FakeReplicaPool:
    """Starts `FakeReplica`s and keeps them in `started`.

    Set `answer`, `capacity`, `load_failure` or `hold_load` before replicas start.
    """

    def __init__(self) -> None:
        self.started: list[FakeReplica] = []
        self.answer: Answer = echo
        self.capacity = 4
        self.load_failure: ReplicaEnd | None = None
        self.hold_load: asyncio.Event | None = None

    async def start(self, spec: ReplicaSpec, files: Mapping[str, OpenFile]) -> Replica:
        """Start one; it reads no files."""
        del files
        replica = FakeReplica(spec, self)
        self.started.append(replica)
        return replica
