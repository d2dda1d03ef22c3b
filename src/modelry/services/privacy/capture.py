"""Takes calls off the data plane: a copy of what shall be kept, and a queue that never waits."""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from modelry.services.inference.call import Call
from modelry.services.privacy.ports import LoggingRule

log = logging.getLogger(__name__)

MAX_QUEUED = 2000
MAX_QUEUED_BYTES = 64 * 2**20
BATCH = 100
EVENT_BYTES = 64
"""What an event without text counts as."""


class CapturedCall:
    """One call that is kept; implements `CallRecord`."""

    __slots__ = (
        "_queue",
        "at",
        "body",
        "duration_s",
        "events",
        "header",
        "key_id",
        "kind",
        "log_id",
        "out_body",
        "out_bytes",
        "out_header",
        "request_id",
        "rule",
        "size_bytes",
        "sizes",
        "started",
        "status",
        "task",
        "version_number",
    )  # fmt: skip

    def __init__(self, rule: LoggingRule, queue: CaptureQueue, call: Call) -> None:
        self.rule = rule
        self._queue = queue
        self.at = datetime.now(UTC)
        self.started = time.monotonic()
        self.log_id = f"{int(self.at.timestamp() * 1e6):016x}{secrets.token_hex(8)}"
        self.request_id = call.request_id.decode()
        self.key_id = call.principal.key_id
        self.kind = call.kind
        self.sizes = (len(call.header), len(call.body))
        self.header, self.body = self._fitting(call.header, call.body, wanted=rule.keep_input)
        self.out_header: bytes | None = None
        self.out_body: bytes | None = None
        self.out_bytes = 0
        self.events: list[Mapping[str, Any]] = []
        self.status = ""
        self.duration_s = 0.0
        self.version_number = 0
        self.task = ""
        self.size_bytes = len(self.header or b"") + len(self.body or b"")

    def event(self, event: Mapping[str, Any]) -> None:
        """See `CallRecord.event`."""
        if not self.rule.keep_output:
            return
        self.out_bytes += len(event.get("text", "")) + EVENT_BYTES
        if self.out_bytes <= self.rule.max_bytes:
            self.events.append(event)
        else:
            self.events.clear()  # as with other answers: too long ones are told by their size

    def ended(self, call: Call, status: str, header: bytes, body: bytes) -> None:
        """See `CallRecord.ended`."""
        call.record = None
        group = call.group
        if group is not None:
            _, _, self.version_number, self.task = group.identity
        self.status = status
        self.duration_s = time.monotonic() - self.started
        if self.rule.keep_output and header and not self.out_bytes:
            self.out_bytes = len(header) + len(body)
            self.out_header, self.out_body = self._fitting(header, body, wanted=True)
        self.size_bytes += min(self.out_bytes, self.rule.max_bytes)
        self._queue.offer(self)

    def _fitting(
        self, header: bytes, body: bytes | memoryview, *, wanted: bool
    ) -> tuple[bytes | None, bytes | None]:
        """Header and body, each None where it shall not be kept or is too large for it."""
        rule = self.rule
        if not wanted or len(header) > rule.max_bytes:
            return None, None
        has_use = rule.attachments or rule.tensor_values
        fits = has_use and len(header) + len(body) <= rule.max_bytes
        return bytes(header), bytes(body) if fits else None


class DeploymentRecorder:
    """Implements `CallRecorder` for one deployment.

    Calls of other tenants, with whom the deployment is shared, are never kept.
    """

    def __init__(self, rule: LoggingRule, queue: CaptureQueue) -> None:
        self.rule = rule
        self._queue = queue

    def begin(self, call: Call) -> CapturedCall | None:
        """See `CallRecorder.begin`."""
        rule = self.rule
        if call.principal.tenant_id != rule.tenant_id:
            return None
        if random.random() >= rule.sample_rate:  # noqa: S311 - a sample, not a secret
            return None
        return CapturedCall(rule, self._queue, call)


class CaptureQueue:
    """Hands captured calls to a thread; what does not fit is dropped and counted.

    Args:
        keep: keeps a batch of calls of one tenant.
    """

    def __init__(self, keep: Callable[[str, Sequence[CapturedCall]], None]) -> None:
        self._keep = keep
        self._waiting: deque[CapturedCall] = deque()
        self._bytes = 0
        self._wake = threading.Condition()
        self._stopping = False
        self._busy = False
        self._thread: threading.Thread | None = None
        self.dropped: Counter[str] = Counter()
        """Calls that were not kept, by tenant, since the start."""

    def offer(self, call: CapturedCall) -> None:
        """Take a call, unless too many wait; never blocks on anything that takes long."""
        with self._wake:
            is_full = (
                self._thread is None
                or len(self._waiting) >= MAX_QUEUED
                or self._bytes + call.size_bytes > MAX_QUEUED_BYTES
            )
            if is_full:
                self.dropped[call.rule.tenant_id] += 1
                return
            self._waiting.append(call)
            self._bytes += call.size_bytes
            self._wake.notify()

    def start(self) -> None:
        """Begin to keep what comes."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="request-logs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Keep what waits, and end."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            by_tenant: dict[str, list[CapturedCall]] = {}
            for call in batch:
                by_tenant.setdefault(call.rule.tenant_id, []).append(call)
            for tenant_id, calls in by_tenant.items():
                try:
                    self._keep(tenant_id, calls)
                except Exception as error:  # noqa: BLE001 - keeping must go on
                    self.lost(tenant_id, len(calls), error)

    def lost(self, tenant_id: str, count: int, error: Exception) -> None:
        """Count calls that could not be kept; the log tells no words of theirs."""
        self.dropped[tenant_id] += count
        log.error("%d calls could not be kept: %s", count, type(error).__name__)

    def _next(self) -> list[CapturedCall] | None:
        with self._wake:
            self._wake.wait_for(lambda: self._waiting or self._stopping)
            if not self._waiting:
                return None
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._bytes -= sum(call.size_bytes for call in batch)
            return batch
