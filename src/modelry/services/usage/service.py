"""Buffers what was used and brings it to the store a few times a minute."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import InvalidInput
from modelry.domain.usage import UsageRecord
from modelry.services.inference.replica_group import MeterKey, MeterTotal
from modelry.services.usage.ports import UsageAmount, UsageGroup, UsageStore, UsageTotal

log = logging.getLogger(__name__)

REQUESTS = "requests"
DURATION = "duration_us"
"""Units that every request has, besides those of its task: requests, and microseconds."""

MAX_BUFFERED = 100_000

_Key = tuple[datetime, MeterKey, str]


class UsageService:
    """Adds usage up in memory, per minute, and flushes it.

    What was answered is lost from the totals only if the process is killed before the next
    flush: the loss window is `flush_s` seconds. While the store cannot be written the buffer
    keeps adding up; its size depends on how many keys, deployments and minutes there are, not
    on how many requests, and beyond `MAX_BUFFERED` entries new ones are dropped and counted.

    Args:
        store: keeps usage.
        clock: gives the time.
        flush_s: seconds between flushes.
    """

    def __init__(
        self,
        store: UsageStore,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        flush_s: float = 5.0,
    ) -> None:
        self._store = store
        self._clock = clock
        self._flush_s = flush_s
        self._buffer: dict[_Key, int] = {}
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def start(self) -> None:
        """Flush every `flush_s` seconds from now on, in a thread of its own."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="usage-flush", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Flush what is left, and end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.flush()

    def add(self, totals: Mapping[MeterKey, MeterTotal]) -> None:
        """Add what a replica group metered since the last time."""
        minute = self._clock().replace(second=0, microsecond=0)
        with self._lock:
            for key, total in totals.items():
                self._put((minute, key, REQUESTS), total.requests)
                self._put((minute, key, DURATION), round(total.duration_s * 1e6))
                for unit, amount in total.units.items():
                    self._put((minute, key, unit), amount)

    def record(self, record: UsageRecord) -> None:
        """Add one request."""
        key = MeterKey(
            record.tenant_id,
            record.key_id,
            record.deployment,
            record.version_number,
            record.task,
            record.status,
        )
        minute = record.started_at.astimezone(UTC).replace(second=0, microsecond=0)
        with self._lock:
            self._put((minute, key, REQUESTS), 1)
            self._put((minute, key, DURATION), round(record.duration_s * 1e6))
            for unit, amount in record.units.items():
                self._put((minute, key, unit), amount)

    def flush(self) -> bool:
        """Bring the buffer to the store; if that fails it is kept for the next time.

        Returns:
            Whether nothing is left to bring.
        """
        with self._flushing:
            with self._lock:
                taken, self._buffer = self._buffer, {}
            if not taken:
                return True
            try:
                self._store.add_many([_amount(key, amount) for key, amount in taken.items()])
            except Exception:  # whatever the store raises, usage must not be lost for it
                log.exception("usage could not be saved; it is kept and tried again")
                with self._lock:
                    for key, amount in taken.items():
                        self._put(key, amount)
                return False
            return True

    def totals(
        self,
        principal: Principal,
        since: datetime,
        until: datetime,
        group_by: Sequence[UsageGroup] = (),
    ) -> list[UsageTotal]:
        """What the caller's tenant used, whole minutes from `since` up to `until`.

        Raises:
            InvalidInput: times without timezone or in the wrong order, or a repeated group.
        """
        principal.require(Permission.METRICS_READ)
        if since.tzinfo is None or until.tzinfo is None or since >= until:
            raise InvalidInput(
                "Expected two times with timezone, 'since' before 'until', such as "
                "'2030-01-31T00:00:00Z'.",
                param="since",
            )
        if len(set(group_by)) != len(group_by):
            raise InvalidInput("Name each group once.", param="group_by")
        self.flush()
        return self._store.totals(principal.tenant_id, since, until, group_by)

    def _put(self, key: _Key, amount: int) -> None:
        if key in self._buffer:
            self._buffer[key] += amount
        elif len(self._buffer) < MAX_BUFFERED:
            self._buffer[key] = amount
        else:
            self.dropped += 1

    def _run(self) -> None:
        while not self._stop.wait(self._flush_s):
            self.flush()


def _amount(key: _Key, amount: int) -> UsageAmount:
    minute, meter, unit = key
    return UsageAmount(
        meter.tenant_id,
        minute,
        meter.key_id,
        meter.deployment,
        meter.version_number,
        meter.task,
        meter.status,
        unit,
        amount,
    )
