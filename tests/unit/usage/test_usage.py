"""The usage buffer: nothing is lost but what the stated window allows."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import timedelta

import pytest

from modelry.domain.access import Role
from modelry.domain.errors import InvalidInput, PermissionDenied
from modelry.domain.usage import UsageRecord
from modelry.services.inference.replica_group import MeterKey, MeterTotal
from modelry.services.usage import service as usage_service
from modelry.services.usage.ports import UsageAmount, UsageGroup
from modelry.services.usage.service import UsageService
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import NOW, OTHER_TENANT_ID, add_tenants, principal

MINUTE = NOW.replace(second=0, microsecond=0)
HOUR = timedelta(hours=1)


@pytest.fixture
def database() -> MemoryDatabase:
    database = MemoryDatabase()
    add_tenants(database)
    return database


@pytest.fixture
def usage(database: MemoryDatabase) -> UsageService:
    return UsageService(database.usage, clock=lambda: NOW)


def metered(requests: int = 2, key_id: str = "k1") -> dict[MeterKey, MeterTotal]:
    total = MeterTotal()
    total.requests = requests
    total.duration_s = 0.5
    total.units = {"input_tokens": 7}
    return {MeterKey("default", key_id, "pets", 1, "chat", "ok"): total}


def record(**changes: object) -> UsageRecord:
    values = {
        "request_id": "r1", "tenant_id": "default", "key_id": "k1", "deployment": "pets",
        "version_number": 1, "task": "chat", "status": "ok", "started_at": NOW, "duration_s": 0.25,
        "units": {"input_tokens": 3},
    }  # fmt: skip
    return UsageRecord(**{**values, **changes})  # type: ignore[arg-type] # plain test values


def test_totals_count_what_is_still_buffered(usage: UsageService) -> None:
    usage.add(metered())
    usage.add(metered())
    usage.record(record())
    (total,) = usage.totals(principal(), MINUTE, MINUTE + HOUR)
    assert total.units == {"requests": 5, "duration_us": 1_250_000, "input_tokens": 17}


def test_totals_are_grouped(usage: UsageService) -> None:
    usage.add(metered())
    usage.record(record(status="model_failed"))
    found = usage.totals(principal(), MINUTE, MINUTE + HOUR, [UsageGroup.STATUS])
    assert [(one.group["status"], one.units["requests"]) for one in found] == [
        ("model_failed", 1),
        ("ok", 2),
    ]


def test_a_tenant_sees_its_own(usage: UsageService) -> None:
    usage.add(metered())
    assert usage.totals(principal(tenant_id=OTHER_TENANT_ID), MINUTE, MINUTE + HOUR) == []


def test_who_may_ask_for_what(usage: UsageService) -> None:
    with pytest.raises(PermissionDenied):
        usage.totals(principal(Role.INFERENCE), MINUTE, MINUTE + HOUR)
    for since, until in ((NOW, NOW), (NOW + HOUR, NOW), (NOW.replace(tzinfo=None), NOW)):
        with pytest.raises(InvalidInput):
            usage.totals(principal(), since, until)
    with pytest.raises(InvalidInput):
        usage.totals(principal(), NOW, NOW + HOUR, [UsageGroup.KEY, UsageGroup.KEY])


class BrokenStore:
    """Fails until it is mended."""

    def __init__(self, inner: object) -> None:
        self.inner = inner
        self.is_broken = True

    def add_many(self, amounts: Sequence[UsageAmount]) -> None:
        if self.is_broken:
            raise OSError("disk on fire")
        self.inner.add_many(amounts)  # type: ignore[attr-defined] # a store

    def totals(self, *args: object) -> list[object]:
        return self.inner.totals(*args)  # type: ignore[attr-defined] # a store


def test_a_failed_flush_loses_nothing(
    database: MemoryDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    store = BrokenStore(database.usage)
    usage = UsageService(store, clock=lambda: NOW)  # type: ignore[arg-type] # a store
    usage.add(metered())
    assert not usage.flush()
    usage.add(metered())
    assert not usage.flush()
    store.is_broken = False
    assert usage.flush()
    (total,) = usage.totals(principal(), MINUTE, MINUTE + HOUR)
    assert total.units["requests"] == 4
    assert "tried again" in caplog.text


def test_the_buffer_is_bounded(database: MemoryDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_service, "MAX_BUFFERED", 4)
    usage = UsageService(database.usage, clock=lambda: NOW)
    usage.add(metered(key_id="k1"))
    usage.add(metered(key_id="k2"))
    usage.add(metered(key_id="k1"))
    assert usage.dropped == 2
    (total,) = usage.totals(principal(), MINUTE, MINUTE + HOUR)
    assert total.units["requests"] == 6


def test_it_flushes_by_itself_and_when_it_stops(database: MemoryDatabase) -> None:
    usage = UsageService(database.usage, clock=lambda: NOW, flush_s=0.01)
    usage.start()
    usage.add(metered())
    deadline = time.monotonic() + 10
    while not database.usage.totals("default", MINUTE, MINUTE + HOUR, []):
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)
    usage.stop()
    usage.add(metered())
    usage.stop()
    (total,) = database.usage.totals("default", MINUTE, MINUTE + HOUR, [])
    assert total.units["requests"] == 4


def test_adding_from_many_threads_loses_nothing(usage: UsageService) -> None:
    def work() -> None:
        for _ in range(200):
            usage.add(metered(1))
            usage.flush()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (total,) = usage.totals(principal(), MINUTE, MINUTE + HOUR)
    assert total.units["requests"] == 600
