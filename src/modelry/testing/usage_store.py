# ruff: noqa: D102 - the names of the tests say what they check
"""What every `UsageStore` must do. Subclass it and give the fixture `stores`: an empty database
with the default and the other tenant of `testing.samples`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.services.usage.ports import UsageAmount, UsageGroup
from modelry.testing.samples import NOW, OTHER_TENANT_ID, Stores

MINUTE = NOW.replace(second=0, microsecond=0)
AMOUNT = UsageAmount(TENANT, MINUTE, "k1", "pets", 1, "tensor", "ok", "requests", 3)


class UsageStoreContract:
    """The suite."""

    def test_amounts_add_up(self, stores: Stores) -> None:
        stores.usage.add_many([AMOUNT, replace(AMOUNT, unit="images", amount=2**40)])
        stores.usage.add_many([AMOUNT, AMOUNT])
        (total,) = stores.usage.totals(TENANT, MINUTE, MINUTE + timedelta(minutes=1), [])
        assert total.group == {}
        assert total.units == {"images": 2**40, "requests": 9}

    def test_they_are_told_apart(self, stores: Stores) -> None:
        stores.usage.add_many([AMOUNT, replace(AMOUNT, key_id="k0"), replace(AMOUNT, status="x")])
        until = MINUTE + timedelta(hours=1)
        by_key = stores.usage.totals(TENANT, MINUTE, until, [UsageGroup.KEY])
        assert [(one.group, one.units["requests"]) for one in by_key] == [
            ({"key_id": "k0"}, 3),
            ({"key_id": "k1"}, 6),
        ]
        by_two = stores.usage.totals(TENANT, MINUTE, until, [UsageGroup.MINUTE, UsageGroup.VERSION])
        assert [one.group for one in by_two] == [
            {"minute": MINUTE.isoformat(), "version_number": "1"}
        ]

    def test_times_bound_them(self, stores: Stores) -> None:
        later = MINUTE + timedelta(minutes=1)
        stores.usage.add_many([AMOUNT, replace(AMOUNT, minute=later, amount=5)])
        (first,) = stores.usage.totals(TENANT, MINUTE, later, [])
        assert first.units == {"requests": 3}
        assert stores.usage.totals(TENANT, later + timedelta(minutes=1), later, []) == []

    def test_tenants_do_not_see_each_others(self, stores: Stores) -> None:
        nobody = replace(AMOUNT, tenant_id="deleted-meanwhile")
        stores.usage.add_many([AMOUNT, replace(AMOUNT, tenant_id=OTHER_TENANT_ID), nobody])
        until = MINUTE + timedelta(minutes=1)
        (total,) = stores.usage.totals(OTHER_TENANT_ID, MINUTE, until, [UsageGroup.DEPLOYMENT])
        assert total.units == {"requests": 3}
        assert stores.usage.totals("deleted-meanwhile", MINUTE, until, []) == []
