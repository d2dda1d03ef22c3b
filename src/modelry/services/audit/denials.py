"""Refused attempts: entered when they begin, counted while they go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from modelry.domain.errors import AuditUnavailable, NotFound
from modelry.services.audit.ports import AuditTrail

WINDOW_S = 60.0
MOST_PER_TENANT = 20
"""How many entries of a window begin with an attempt; later ones are counted in one more."""
_OTHERS = "(others)"


class _Key(NamedTuple):
    tenant_id: str
    actor: str
    action: str
    outcome: str


@dataclass(slots=True)
class _Seen:
    resource: str
    began: float
    uncounted: int = 0


class Denials:
    """Enters refusals without letting whoever causes them fill the audit log.

    The first refusal of a kind (who, what, why) is entered at once; those of the next minute are
    entered as a number, together. No more kinds than `MOST_PER_TENANT` are told apart in a minute.

    Args:
        trail: takes the entries.
        clock: seconds that only grow.
    """

    def __init__(self, trail: AuditTrail, clock: Callable[[], float] = time.monotonic) -> None:
        self._trail = trail
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[_Key, _Seen] = {}
        self._kinds: dict[str, int] = {}

    def note(
        self, tenant_id: str, *, actor: str, action: str, resource: str, outcome: str
    ) -> Callable[[], None] | None:
        """Take a refusal.

        Returns:
            What enters it, to be called where waiting for the database does no harm; None when
            it was only counted.
        """
        key = _Key(tenant_id, actor, action, outcome)
        with self._lock:
            seen = self._seen.get(key)
            if seen is None and self._kinds.get(tenant_id, 0) >= MOST_PER_TENANT:
                key, resource = _Key(tenant_id, _OTHERS, _OTHERS, outcome), _OTHERS
                seen = self._seen.setdefault(key, _Seen(resource, self._clock()))
            if seen is not None:
                seen.uncounted += 1
                return None
            self._seen[key] = _Seen(resource, self._clock())
            self._kinds[tenant_id] = self._kinds.get(tenant_id, 0) + 1
        return lambda: self._enter(key, resource, 1)

    def bring(self, *, is_last: bool = False) -> None:
        """Enter what was counted in windows that have ended; with `is_last`, in all of them."""
        now = self._clock()
        with self._lock:
            ended = {
                key: seen
                for key, seen in self._seen.items()
                if is_last or now - seen.began >= WINDOW_S
            }
            for key in ended:
                del self._seen[key]
                if key.actor != _OTHERS:
                    self._kinds[key.tenant_id] -= 1
            self._kinds = {tenant: count for tenant, count in self._kinds.items() if count}
        for key, seen in ended.items():
            if seen.uncounted:
                self._enter(key, seen.resource, seen.uncounted)

    def _enter(self, key: _Key, resource: str, attempts: int) -> None:
        try:
            self._trail.append(
                key.tenant_id,
                actor=key.actor,
                action=key.action,
                resource=resource,
                outcome=key.outcome,
                detail={"attempts": attempts},
            )
        except (AuditUnavailable, NotFound):
            return  # it was refused: nothing happened that must be known
