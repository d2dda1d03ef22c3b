"""What is over is deleted, what is not stays, and the audit log says how much."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support import databases

from modelry.adapters.audit.head_file import HeadFile
from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.adapters.sql.database import Database
from modelry.domain.access import DEFAULT_TENANT_ID, Role
from modelry.domain.errors import InvalidInput, PermissionDenied
from modelry.domain.jobs import Job, JobState
from modelry.services.audit.chain import ChainKeys
from modelry.services.audit.ports import AuditFilter
from modelry.services.audit.service import AuditService
from modelry.services.audit.trail import ChainedTrail
from modelry.services.jobs.ports import JobFilter
from modelry.services.jobs.service import JobsService
from modelry.services.privacy.ports import LogFilter, LoggedRequest, SealedLog
from modelry.services.privacy.retention import DataClass, RetentionService
from modelry.testing.encryption import memory_encryption
from modelry.testing.samples import OTHER_TENANT_ID, principal

NOW = datetime(2030, 6, 1, tzinfo=UTC)
KEYS = ChainKeys(b"k" * 32)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = databases.with_tenants(tmp_path)
    yield found
    found.close()


@pytest.fixture
def retention(database: Database, tmp_path: Path) -> RetentionService:
    audit = AuditService(database.audit, KEYS, HeadFile(tmp_path / "heads"), clock=lambda: NOW)
    trail = ChainedTrail(database.audit, KEYS, lambda: NOW)
    return RetentionService(
        database.request_logs,
        database.request_logs,
        audit,
        trail,
        jobs=JobsService(database.jobs, FileBlobStore(tmp_path / "blobs", memory_encryption())),
        clock=lambda: NOW,
    )


def keep(database: Database, tenant_id: str, age_days: int, kept_days: int) -> None:
    at = NOW - timedelta(days=age_days)
    request = LoggedRequest(
        tenant_id, f"{age_days:04d}-{kept_days}", "r", at, at + timedelta(days=kept_days), "d", 1,
        "k", "chat", "ok", 0.1, {},
    )  # fmt: skip
    database.request_logs.add(tenant_id, [SealedLog(request, b"sealed")])


def kept(database: Database, tenant_id: str) -> list[str]:
    found = database.request_logs.find(tenant_id, LogFilter(), before=None, limit=99)
    return sorted(one.log_id for one in found)


def test_requests_end_with_their_own_time_or_the_tenants(database, retention):
    for tenant_id in (DEFAULT_TENANT_ID, OTHER_TENANT_ID):
        for age, days in ((8, 7), (20, 30), (5, 30)):
            keep(database, tenant_id, age, days)
    retention.put(principal(), {DataClass.REQUEST_LOGS: 10})
    retention.sweep()
    assert kept(database, DEFAULT_TENANT_ID) == ["0005-30"]
    assert kept(database, OTHER_TENANT_ID) == ["0005-30", "0020-30"]
    (told,) = database.audit.entries(
        DEFAULT_TENANT_ID, AuditFilter(action="retention.sweep"), limit=9
    )
    assert told.detail == {"deleted": {"request_logs": 2}}
    retention.sweep()
    swept = AuditFilter(action="retention.sweep")
    assert len(database.audit.entries(DEFAULT_TENANT_ID, swept, limit=9)) == 1


def test_jobs_that_ended_long_ago_end_altogether(database, retention):
    for number, days in ((1, 400), (2, 40), (3, 5)):
        ended = NOW - timedelta(days=days)
        job = Job(
            DEFAULT_TENANT_ID, f"job-{number}", "train", {}, ended, "k",
            state=JobState.FAILED, ended_at=ended,
        )  # fmt: skip
        database.jobs.write(DEFAULT_TENANT_ID, lambda records, job=job: records.add(job))

    def left() -> list[str]:
        found = database.jobs.read(
            DEFAULT_TENANT_ID,
            lambda records: records.list(DEFAULT_TENANT_ID, JobFilter(), None, 9),
        )
        return [one.job_id for one in found]

    retention.sweep()
    assert left() == ["job-3", "job-2"]
    retention.put(principal(), {DataClass.JOBS: 30})
    retention.sweep()
    assert left() == ["job-3"]


def test_audit_entries_are_kept_unless_somebody_says_how_long(database, retention):
    ages = iter([200, 150, 10, 5])
    trail = ChainedTrail(database.audit, KEYS, lambda: NOW - timedelta(days=next(ages)))
    for number in range(4):
        trail.append(DEFAULT_TENANT_ID, actor="a", action="b", resource=f"{number}")
    retention.sweep()
    assert len(database.audit.entries(DEFAULT_TENANT_ID, AuditFilter(), limit=9)) == 4
    retention.put(principal(), {DataClass.AUDIT: 100})
    retention.sweep()
    left = database.audit.entries(DEFAULT_TENANT_ID, AuditFilter(), limit=9)
    assert [one.resource for one in left] == ["2", "3", "/retention"]


def test_bounds_and_rights(retention):
    with pytest.raises(InvalidInput, match="90 to 3650"):
        retention.put(principal(), {DataClass.REQUEST_LOGS: 5, DataClass.AUDIT: 5})
    assert all(one.is_default for one in retention.kept(principal()))
    with pytest.raises(PermissionDenied):
        retention.put(principal(Role.DEVELOPER), {DataClass.REQUEST_LOGS: 5})
    retention.put(principal(), {DataClass.REQUEST_LOGS: 5})
    retention.put(principal(), {DataClass.REQUEST_LOGS: None})
    assert all(one.is_default for one in retention.kept(principal()))
