"""Brings what was noted to the ledger: exactly once, and never more than a stated window late.

Two threads work at it, so that a database that hangs holds up neither requests nor durability.
One makes segments of what comes from the meter and hands them to the other, which adds them to
the store. What the store has not confirmed after `SPOOL_AFTER_S` is put on the disk, and is added
from there when the store is back, in this run or the next. A segment has the same identity
wherever it comes from, and the store adds it once.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modelry.services.inference.metering import Taken
from modelry.services.usage.ports import Segment, SegmentSpool, UsageStore
from modelry.services.usage.segments import segments_of

log = logging.getLogger(__name__)

SPOOL_AFTER_S = 0.5
"""How long a flush may wait for the store before it is put on the disk."""
RETRY_S = 0.5
LONGEST_RETRY_S = 5.0
MAX_MEMORY_BYTES = 64 * 2**20
MAX_SPOOL_BYTES = 4 * 2**30
"""Beyond these, requests are refused: no room is left to record what they use."""
STOP_S = 5.0
"""How long the end waits for the store before it leaves the rest on the disk."""


@dataclass(slots=True, eq=False)
class _Flush:
    """Segments on their way; `name` is that of the spool once they are there.

    `number` counts the flushes of this run from 1 on; those of earlier runs have 0.

    `is_told` says that a failure to save them is in the log.
    """

    segments: Sequence[Segment]
    size_bytes: int
    since: float
    number: int
    name: str | None = None
    is_told: bool = False


class Ledger:
    """Writes usage in the background.

    Args:
        store: the database.
        spool: the disk.
        on_full: told whether there is room for no more (and later whether there is again).
        max_memory_bytes: bound of what waits in memory.
        max_spool_bytes: bound of what waits on the disk.
    """

    def __init__(
        self,
        store: UsageStore,
        spool: SegmentSpool,
        on_full: Callable[[bool], None] = lambda _: None,
        *,
        max_memory_bytes: int = MAX_MEMORY_BYTES,
        max_spool_bytes: int = MAX_SPOOL_BYTES,
    ) -> None:
        self._store = store
        self._spool = spool
        self._on_full = on_full
        self._max_memory_bytes = max_memory_bytes
        self._max_spool_bytes = max_spool_bytes
        self._run_id = secrets.token_hex(8)
        self._added = 0
        self._made = 0
        self._incoming: deque[Taken] = deque()
        self._pending: deque[_Flush] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin, with what an earlier run left on the disk."""
        now = time.monotonic()
        self._pending.extend(_Flush((), 0, now, 0, name) for name in self._spool.names())
        if self._pending:
            log.info("usage of %d flushes of an earlier run is added now", len(self._pending))
        self._threads = [
            threading.Thread(target=self._make, name="usage-segments", daemon=True),
            threading.Thread(target=self._bring, name="usage-store", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def add(self, taken: Taken) -> None:
        """Take over what was noted; does not wait."""
        if taken.series:
            with self._changed:
                self._added += 1
                self._incoming.append(taken)
                self._changed.notify_all()

    def settle(self, timeout_s: float) -> bool:
        """Wait until all that was added until now is in the store; whether it is."""
        with self._changed:
            last = self._added
            return self._changed.wait_for(lambda: self._has_settled(last), timeout_s)

    def _has_settled(self, last: int) -> bool:
        """Whether the first `last` that were added are in the store, whatever comes after them."""
        under_way = [flush.number for flush in self._pending]
        return self._made >= last and all(number > last for number in under_way)

    def stop(self) -> None:
        """Bring what is left to the store or, where that is not to be had, to the disk."""
        self.settle(STOP_S)
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        making, bringing = self._threads
        making.join()
        bringing.join(STOP_S)
        left = [flush for flush in self._pending if flush.name is None]
        for flush in left:  # one that the store confirms after this is known there, and left out
            self._put(flush)
        if any(flush.name is None for flush in left):
            log.error("usage could be saved neither in the database nor on the disk")

    @property
    def waiting_bytes(self) -> int:
        """How much waits in memory for the store."""
        return sum(flush.size_bytes for flush in tuple(self._pending) if flush.name is None)

    def _make(self) -> None:
        """Make segments, and put those on the disk that the store does not take in time."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._incoming or self._is_stopping, SPOOL_AFTER_S / 2
                )
                if self._is_stopping and not self._incoming:
                    return
                taken = self._incoming.popleft() if self._incoming else None
            try:
                flush = None if taken is None else self._flush_of(taken)
            except Exception:
                log.exception("usage could not be written as segments; it is lost")
                flush = None
            with self._changed:
                self._made += taken is not None
                if flush is not None:
                    self._pending.append(flush)
                self._changed.notify_all()
            self._spool_late()
            self._tell_room()

    def _flush_of(self, taken: Taken) -> _Flush:
        number = self._made + 1
        segments = segments_of(taken, self._run_id, number)
        size = sum(len(one.data) + len(one.other_ids) for one in segments)
        return _Flush(segments, size, time.monotonic(), number)

    def _spool_late(self) -> None:
        late = time.monotonic() - SPOOL_AFTER_S
        for flush in tuple(self._pending):
            if flush.name is None and flush.since <= late:
                self._put(flush)

    def _put(self, flush: _Flush) -> None:
        try:
            name = self._spool.put(flush.segments)
        except OSError as error:
            log.warning("usage cannot be put on the disk: %s", error.strerror)
            return
        with self._changed:
            if flush in self._pending:
                flush.name = name
                flush.segments, flush.size_bytes = (), 0
                return
        self._spool.delete(name)  # the store took it meanwhile

    def _tell_room(self) -> None:
        in_memory = self.waiting_bytes
        self._on_full(
            in_memory > self._max_memory_bytes
            or (bool(self._pending) and self._spool.size_bytes() > self._max_spool_bytes)
        )

    def _bring(self) -> None:
        """Add flushes to the store until the end, oldest first; those that fail come again."""
        pause_s = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._is_stopping)
                if self._is_stopping and (pause_s or not self._pending):
                    return
                if pause_s:
                    self._changed.wait_for(lambda: self._is_stopping, pause_s)
                flush, name, segments = self._oldest()
            try:
                self._store.add(segments if name is None else self._spool.get(name))
            except Exception:
                if not flush.is_told:
                    log.exception("usage could not be saved; it is kept and tried again")
                pause_s = min(LONGEST_RETRY_S, pause_s * 2 or RETRY_S)
                with self._changed:
                    flush.is_told = True
                    self._pending.rotate(-1)  # one that can never be saved holds up no others
                continue
            pause_s = 0.0
            with self._changed:
                self._pending.remove(flush)
                name = flush.name
                self._changed.notify_all()
            if name is not None:
                self._spool.delete(name)

    def _oldest(self) -> tuple[_Flush, str | None, Sequence[Segment]]:
        flush = self._pending[0]
        return flush, flush.name, flush.segments
