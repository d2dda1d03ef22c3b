# ruff: noqa: D102 - the names of the tests say what they check
"""What every `QuotaStore` must do. Subclass it and give the fixture `stores`: an empty database
with the default and the other tenant of `testing.samples`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta

from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.quotas import TENANT_WIDE, Quota, QuotaLimits
from modelry.services.quotas.ports import Report, Subject, UseKey
from modelry.testing.samples import NOW, OTHER_TENANT_ID, Stores, api_key, member

TODAY = NOW.date()
KEY = UseKey(TENANT, "k1", "requests", TODAY)


def told(
    gateway_id: str = "g1",
    used: Mapping[UseKey, float] | None = None,
    open_: Mapping[Subject, int] | None = None,
    at: datetime = NOW,
    *,
    announces: bool = True,
) -> Report:
    """A report."""
    return Report(gateway_id, at, used or {}, open_ or {}, announces)


class QuotaStoreContract:
    """The suite."""

    def test_limits_are_kept_and_replaced(self, stores: Stores) -> None:
        for limits in (QuotaLimits(tokens_per_day=5), QuotaLimits(requests_per_second=0.5)):
            quota = Quota(TENANT, "k1", limits)
            stores.quotas.write(TENANT, lambda records, quota=quota: records.put(quota, "o", NOW))  # type: ignore[misc] # mypy cannot infer lambdas with defaults
        whole = Quota(TENANT, TENANT_WIDE, QuotaLimits(weight=2))
        stores.quotas.write(TENANT, lambda records: records.put(whole, "o", NOW))
        assert stores.quotas.read(TENANT, lambda records: records.all()) == [whole, quota]
        assert set(stores.quotas.exchange(told()).quotas) == {whole, quota}
        stores.quotas.write(TENANT, lambda records: records.delete("k1"))
        assert stores.quotas.read(TENANT, lambda records: records.find("k1")) is None

    def test_a_tenants_limits_are_its_own(self, stores: Stores) -> None:
        quota = Quota(TENANT, "k1", QuotaLimits(tokens_per_day=5))
        stores.quotas.write(TENANT, lambda records: records.put(quota, "o", NOW))
        assert stores.quotas.read(OTHER_TENANT_ID, lambda records: records.all()) == []
        stores.quotas.write(OTHER_TENANT_ID, lambda records: records.delete("k1"))
        assert stores.quotas.read(TENANT, lambda records: records.find("k1")) == quota

    def test_it_knows_who_calls(self, stores: Stores) -> None:
        stores.keys.write(TENANT, lambda records: records.put(api_key("k1")))
        stores.keys.write(TENANT, lambda records: records.members.put(member("m1")))
        wanted = ("k1", "user:m1", "k2", "user:m2")
        assert stores.quotas.read(
            TENANT, lambda records: [records.has_key(one) for one in wanted]
        ) == [True, True, False, False]
        assert not stores.quotas.read(OTHER_TENANT_ID, lambda records: records.has_key("k1"))
        assert not stores.quotas.read("nobody", lambda records: records.has_tenant())

    def test_what_gateways_use_adds_up(self, stores: Stores) -> None:
        gone = KEY._replace(tenant_id="deleted-meanwhile")
        stores.quotas.exchange(told("g1", {KEY: 1.5, gone: 1}))
        yesterday = KEY._replace(day=TODAY - timedelta(days=1))
        old = KEY._replace(day=TODAY - timedelta(days=2))
        picture = stores.quotas.exchange(told("g2", {KEY: 2, yesterday: 7, old: 9}))
        assert picture.used == {KEY: 3.5, yesterday: 7}
        assert picture.gateways == 2

    def test_what_is_open_elsewhere_is_told(self, stores: Stores) -> None:
        subject = (TENANT, "k1")
        stores.quotas.exchange(told("g1", open_={subject: 3, (TENANT, "k2"): 0}))
        assert stores.quotas.exchange(told("g2", open_={subject: 4})).open == {subject: 3}
        assert stores.quotas.exchange(told("g1")).open == {subject: 4}
        later = NOW + timedelta(minutes=1)
        picture = stores.quotas.exchange(told("g3", at=later))
        assert picture.open == {}
        assert picture.gateways == 1

    def test_months_add_up_and_old_days_are_forgotten(self, stores: Stores) -> None:
        days = [date(2030, 1, day) for day in (1, 2, 30, 31)]
        stores.quotas.exchange(told(used={KEY._replace(day=day): 1 for day in days}))
        total = (TENANT, "k1", "requests")
        assert stores.quotas.month_use(date(2030, 1, 1), date(2030, 1, 31)) == {total: 3}
        stores.quotas.forget(date(2030, 1, 2), NOW + timedelta(seconds=1))
        assert stores.quotas.month_use(date(2030, 1, 1), date(2030, 1, 31)) == {total: 2}
        assert stores.quotas.exchange(told(announces=False)).gateways == 1
