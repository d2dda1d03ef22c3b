"""What attempts used comes to the ledger once, whatever fails in between."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.jobs.conftest import ME, STRANGER, Kit

from modelry.domain.errors import LeaseLost, Overloaded
from modelry.domain.jobs import JobError
from modelry.domain.usage import Compute
from modelry.services.jobs.attempts import Told
from modelry.services.jobs.metering import JobMetering
from modelry.services.usage.ports import TotalsQuery, UsageGroup
from modelry.services.usage.tracing import find_records

USED = Compute(engine_us=4_000_000, cpu_us=7_000_000)
TOLD = Told(compute=USED)


def metering(kit: Kit) -> JobMetering:
    return JobMetering(kit.database.jobs, kit.database.usage)


def totals(kit: Kit, *groups: UsageGroup, tenant_id: str = ME.tenant_id) -> list[Any]:
    now = kit.clock()
    query = TotalsQuery(tenant_id, now - timedelta(days=1), now + timedelta(days=1), groups)
    return [
        (*one.group.values(), one.units.get("engine_us"), one.units.get("cpu_us"))
        for one in kit.database.usage.totals(query)
    ]


def attempt(kit: Kit, told: Told = TOLD) -> Any:
    """An attempt that used something and runs on."""
    _, lease = kit.claim()
    kit.attempts.tell(lease, told)
    return lease


def test_each_attempt_is_metered_once(kit: Kit) -> None:
    job = kit.submit({"model": "pets"})
    lease = attempt(kit)
    assert metering(kit).sweep() == 0  # it runs on
    kit.attempts.fail(lease, JobError("work_failed", "x"), Told(compute=USED), retryable=True)
    kit.clock.forward(60)
    kit.attempts.succeed(attempt(kit), {}, Told())
    assert [metering(kit).sweep() for _ in range(3)] == [2, 0, 0]
    by = (UsageGroup.DEPLOYMENT, UsageGroup.MODEL, UsageGroup.TASK, UsageGroup.STATUS)
    assert totals(kit, *by) == [
        ("(told)", "pets", "told", "ok", 4_000_000, 7_000_000),
        ("(told)", "pets", "told", "work_failed", 8_000_000, 14_000_000),
    ]
    [record] = find_records(kit.database.usage, ME.tenant_id, f"{job.job_id}.1")
    assert (record.key_id, record.status) == (job.submitted_by, "work_failed")
    assert record.started_at == kit.clock() - timedelta(seconds=60)


@pytest.mark.parametrize("end", ["lost", "released", "cancelled", "paused"])
def test_attempts_that_end_otherwise_are_metered_too(kit: Kit, end: str) -> None:
    job = kit.submit()
    lease = attempt(kit)
    if end == "lost":
        kit.queue.take_back()
    elif end != "released":
        {"cancelled": kit.service.cancel, "paused": kit.service.pause}[end](ME, job.job_id)
    if end != "lost":
        kit.attempts.stopped(lease, Told(), in_order=True)
    metering(kit).sweep()
    assert totals(kit, UsageGroup.STATUS) == [(end, 4_000_000, 7_000_000)]


def test_a_crash_between_ledger_and_mark_counts_nothing_twice(kit: Kit) -> None:
    kit.submit()
    kit.attempts.succeed(attempt(kit), {}, Told())

    class Crashing(JobMetering):
        def _mark(self, attempt: Any) -> None:
            raise Overloaded("killed just now")

    for _ in range(3):
        with pytest.raises(Overloaded):
            Crashing(kit.database.jobs, kit.database.usage).sweep()
    assert metering(kit).sweep() == 1
    assert totals(kit) == [(4_000_000, 7_000_000)]


def test_tenants_have_their_own_and_what_used_nothing_leaves_no_record(kit: Kit) -> None:
    kit.submit()
    kit.attempts.succeed(attempt(kit, Told()), {}, Told())
    kit.clock.forward(1)
    kit.submit(principal=STRANGER)
    kit.attempts.succeed(attempt(kit), {}, Told())
    assert metering(kit).sweep() == 2
    assert totals(kit) in ([], [(None, None)])
    assert totals(kit, tenant_id=STRANGER.tenant_id) == [(4_000_000, 7_000_000)]


def test_an_attempt_that_lost_its_lease_adds_nothing(kit: Kit) -> None:
    kit.submit()
    lease = attempt(kit)
    kit.queue.take_back()
    kit.attempts.succeed(attempt(kit), {}, Told())
    with pytest.raises(LeaseLost):
        kit.attempts.tell(lease, Told(compute=USED))
    metering(kit).sweep()
    assert totals(kit) == [(8_000_000, 14_000_000)]


@pytest.mark.parametrize(
    ("parameters", "model"),
    [
        ({"model": "pets"}, ("pets", "0")),
        ({"training": {"model": "pets"}}, ("pets", "0")),
        ({"version": "pets@3"}, ("pets", "3")),
        ({"version": "pets"}, ("pets", "0")),
        ({"model": 5}, ("", "0")),
    ],
)
def test_the_model_is_told_where_it_is_known(
    kit: Kit, parameters: dict[str, Any], model: tuple[str, str]
) -> None:
    kit.service.submit(ME, "told", parameters)
    kit.attempts.succeed(attempt(kit), {}, Told())
    metering(kit).sweep()
    [found] = totals(kit, UsageGroup.MODEL, UsageGroup.VERSION)
    assert tuple(map(str, found[:2])) == model
