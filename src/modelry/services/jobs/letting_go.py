"""Checkpoints that are needed no more: their contents go before the next sweep of everything."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from modelry.domain.errors import ModelryError

log = logging.getLogger(__name__)

WAIT_S = 600.0
"""A job that makes the same bytes may just be about to refer to them: a content younger than this
is left, and so is one that was let go of more lately.
"""
MOST = 10_000
"""More than so many are left to the sweep of everything."""


class Discards(Protocol):
    """Deletes contents that nothing refers to."""

    def __call__(self, tenant_id: str, digest: str, kept_before: datetime) -> bool:
        """Delete a content unless something refers to it or it was kept later; whether it did."""
        ...


class LettingGo:
    """Remembers contents that were let go of, and deletes them a little later.

    What is forgotten when the server ends is found by the sweep of everything.

    Args:
        discard: deletes.
        wait_s: how long they are left.
        clock: gives the time.
    """

    def __init__(
        self,
        discard: Discards,
        *,
        wait_s: float = WAIT_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._discard = discard
        self._wait_s = wait_s
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: deque[tuple[float, str, str]] = deque(maxlen=MOST)

    def __call__(self, tenant_id: str, digest: str) -> None:
        """Let go of a content."""
        with self._lock:
            self._waiting.append((time.monotonic(), tenant_id, digest))

    def sweep(self) -> None:
        """Delete those that have waited long enough."""
        while True:
            with self._lock:
                if not self._waiting or time.monotonic() - self._waiting[0][0] < self._wait_s:
                    return
                _, tenant_id, digest = self._waiting.popleft()
            before = self._clock() - timedelta(seconds=self._wait_s)
            try:
                self._discard(tenant_id, digest, before)
            except ModelryError as error:
                log.warning("a checkpoint was not deleted: %s", error.message)
