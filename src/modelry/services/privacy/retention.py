"""How long what is kept, and the sweep that ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import InvalidInput
from modelry.services.audit.ports import AuditTrail
from modelry.services.audit.service import AuditService
from modelry.services.privacy.ports import (
    EndedJobs,
    LogFilter,
    RequestLogStore,
    RetentionStore,
)

SWEEPER = "server"


class DataClass(StrEnum):
    """A class of data whose time a tenant may set."""

    REQUEST_LOGS = "request_logs"
    AUDIT = "audit"
    JOBS = "jobs"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Days that a class may be kept; `default` None keeps it until the tenant is deleted."""

    least: int
    most: int
    default: int | None


BOUNDS: dict[DataClass, Bounds] = {
    DataClass.REQUEST_LOGS: Bounds(1, 365, 365),
    DataClass.AUDIT: Bounds(90, 3650, None),
    DataClass.JOBS: Bounds(1, 3650, 365),
}


@dataclass(frozen=True, slots=True)
class Kept:
    """How long a class is kept; `days` None is for ever."""

    what: DataClass
    days: int | None
    is_default: bool
    bounds: Bounds


class RetentionService:
    """Shows and sets how long what is kept, and deletes what is over.

    Args:
        store: keeps what was set.
        logs: has request logs.
        audit: has audit entries.
        trail: is told of sweeps.
        jobs: has jobs.
        clock: gives the time.
    """

    def __init__(
        self,
        store: RetentionStore,
        logs: RequestLogStore,
        audit: AuditService,
        trail: AuditTrail,
        *,
        jobs: EndedJobs,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._logs = logs
        self._audit = audit
        self._trail = trail
        self._jobs = jobs
        self._clock = clock

    def kept(self, principal: Principal) -> list[Kept]:
        """How long each class is kept in the caller's tenant."""
        principal.require(Permission.TENANT_READ)
        return self._kept(principal.tenant_id)

    def put(self, principal: Principal, wanted: Mapping[DataClass, int | None]) -> list[Kept]:
        """Set how many days classes are kept; None goes back to the default.

        Raises:
            InvalidInput: more or less than the platform allows.
        """
        principal.require(Permission.TENANT_WRITE)
        for what, days in wanted.items():
            bounds = BOUNDS[what]
            if days is not None and not bounds.least <= days <= bounds.most:
                raise InvalidInput(
                    f"'{what}' cannot be kept for {days} days; expected {bounds.least} to "
                    f"{bounds.most}.",
                    param=what.value,
                )
        chosen = {what.value: days for what, days in wanted.items()}
        self._store.put_days(principal.tenant_id, chosen, principal.key_id, self._clock())
        return self._kept(principal.tenant_id)

    def _kept(self, tenant_id: str) -> list[Kept]:
        chosen = self._store.days(tenant_id)
        return [
            Kept(what, chosen.get(what.value, bounds.default), what.value not in chosen, bounds)
            for what, bounds in BOUNDS.items()
        ]

    def sweep(self) -> None:
        """Delete what is over, in all tenants; each sweep that deletes is in the audit log."""
        for tenant_id in self._audit.tenant_ids():
            deleted = {what.value: count for what, count in self._swept(tenant_id) if count}
            if deleted:
                self._trail.append(
                    tenant_id,
                    actor=SWEEPER,
                    action="retention.sweep",
                    resource="/retention",
                    detail={"deleted": deleted},
                )

    def _swept(self, tenant_id: str) -> list[tuple[DataClass, int]]:
        now = self._clock()
        days = {kept.what: kept.days for kept in self._kept(tenant_id)}
        logs = self._logs.delete_expired(tenant_id, now)
        log_days, audit_days = days[DataClass.REQUEST_LOGS], days[DataClass.AUDIT]
        if log_days is not None:
            oldest = now - timedelta(days=log_days)
            logs += self._logs.delete(tenant_id, LogFilter(until=oldest))
        entries = 0
        if audit_days is not None:
            entries = self._audit.sweep(tenant_id, now - timedelta(days=audit_days))
        jobs, job_days = 0, days[DataClass.JOBS]
        if job_days is not None:
            jobs = self._jobs.delete_ended(tenant_id, now - timedelta(days=job_days))
        return [
            (DataClass.REQUEST_LOGS, logs),
            (DataClass.AUDIT, entries),
            (DataClass.JOBS, jobs),
        ]
