# ruff: noqa: D102 - the names of the tests say what they check
"""What every `UsageStore` must do. Subclass it and give the fixture `stores`: an empty database
with the default and the other tenant of `testing.samples`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.prices import Price
from modelry.services.usage.ports import (
    Segment,
    TotalsQuery,
    UsageAmount,
    UsageGroup,
    UsageStore,
    UsageTotal,
)
from modelry.testing.samples import NOW, OTHER_TENANT_ID, Stores

MINUTE = NOW.replace(second=0, microsecond=0)
NUMBER = int(MINUTE.timestamp()) // 60
AMOUNT = UsageAmount(
    TENANT, NUMBER, "", "k1", "pets", "pets", 1, "tensor", "ok", "requests", 3
)  # fmt: skip


def segment(sequence: int, *amounts: UsageAmount, **changes: Any) -> Segment:
    """A segment of the first amount's tenant."""
    made = Segment(
        tenant_id=amounts[0].tenant_id,
        run_id="run",
        sequence=sequence,
        first_at=MINUTE,
        last_at=MINUTE + timedelta(seconds=1),
        records=3,
        data=b"segment %d" % sequence,
        other_ids=b"",
        amounts=amounts,
    )
    return replace(made, **changes)


def totals(store: UsageStore, *groups: UsageGroup, **changes: Any) -> list[UsageTotal]:
    """Totals of the hour from `MINUTE` on."""
    asked = TotalsQuery(TENANT, MINUTE, MINUTE + timedelta(hours=1), groups)
    return store.totals(replace(asked, **changes))


class UsageStoreContract:
    """The suite."""

    def test_amounts_add_up(self, stores: Stores) -> None:
        large = replace(AMOUNT, unit="images", amount=2**40)
        stores.usage.add([segment(1, AMOUNT, large)])
        stores.usage.add([segment(2, AMOUNT), segment(3, AMOUNT)])
        (total,) = totals(stores.usage)
        assert total.group == {}
        assert total.units == {"images": 2**40, "requests": 9}

    def test_what_is_added_again_counts_once(self, stores: Stores) -> None:
        stores.usage.add([segment(1, AMOUNT)])
        stores.usage.add([segment(1, AMOUNT), segment(2, AMOUNT)])
        stores.usage.add([segment(1, AMOUNT), segment(2, AMOUNT)])
        (total,) = totals(stores.usage)
        assert total.units == {"requests": 6}
        found = stores.usage.find_segments(TENANT, MINUTE, MINUTE)
        assert [one.data for one in found] == [b"segment 1", b"segment 2"]

    def test_another_run_has_its_own_numbers(self, stores: Stores) -> None:
        stores.usage.add([segment(1, AMOUNT), segment(1, AMOUNT, run_id="other")])
        (total,) = totals(stores.usage)
        assert total.units == {"requests": 6}

    def test_they_are_told_apart(self, stores: Stores) -> None:
        others = replace(AMOUNT, key_id="k0"), replace(AMOUNT, status="x", amount=1)
        stores.usage.add([segment(1, AMOUNT, *others)])
        by_key = totals(stores.usage, UsageGroup.KEY)
        assert [(one.group, one.units["requests"]) for one in by_key] == [
            ({"key_id": "k0"}, 3),
            ({"key_id": "k1"}, 4),
        ]
        by_two = totals(stores.usage, UsageGroup.MINUTE, UsageGroup.VERSION)
        assert [one.group for one in by_two] == [
            {"minute": MINUTE.isoformat(), "version_number": "1"}
        ]
        (refused,) = totals(stores.usage, where=((UsageGroup.STATUS, ("x", "y")),))
        assert refused.units == {"requests": 1}

    def test_hours_and_days_are_told_apart(self, stores: Stores) -> None:
        later = [replace(AMOUNT, minute=NUMBER + minutes, amount=1) for minutes in (29, 30, 1440)]
        stores.usage.add([segment(1, AMOUNT, *later)])
        until = MINUTE + timedelta(days=2)
        by_hour = totals(stores.usage, UsageGroup.HOUR, until=until)
        assert [(one.group["hour"], one.units["requests"]) for one in by_hour] == [
            ("2030-01-31T12:00:00+00:00", 4),
            ("2030-01-31T13:00:00+00:00", 1),
            ("2030-02-01T12:00:00+00:00", 1),
        ]
        by_day = totals(stores.usage, UsageGroup.DAY, until=until)
        assert [(one.group["day"], one.units["requests"]) for one in by_day] == [
            ("2030-01-31T00:00:00+00:00", 5),
            ("2030-02-01T00:00:00+00:00", 1),
        ]

    def test_pages_follow_each_other(self, stores: Stores) -> None:
        amounts = [
            replace(AMOUNT, key_id=f"k{at}", version_number=at, minute=NUMBER + at, unit=unit)
            for at in range(10)
            for unit in ("requests", "images")
        ]
        stores.usage.add([segment(1, *amounts)])
        groups = (UsageGroup.DEPLOYMENT, UsageGroup.VERSION, UsageGroup.MINUTE)
        found: list[UsageTotal] = []
        after = None
        while page := totals(stores.usage, *groups, limit=4, after=after):
            assert len(page) <= 4
            found += page
            after = tuple(page[-1].group.values())
        assert found == totals(stores.usage, *groups)
        assert len(found) == 10
        assert all(one.units == {"images": 3, "requests": 3} for one in found)

    def test_times_bound_them(self, stores: Stores) -> None:
        stores.usage.add([segment(1, AMOUNT, replace(AMOUNT, minute=NUMBER + 1, amount=5))])
        later = MINUTE + timedelta(minutes=1)
        (first,) = totals(stores.usage, until=later)
        assert first.units == {"requests": 3}
        assert totals(stores.usage, since=later + timedelta(minutes=1)) == []

    def test_tenants_do_not_see_each_others(self, stores: Stores) -> None:
        theirs = replace(AMOUNT, tenant_id=OTHER_TENANT_ID, amount=4)
        nobody = replace(AMOUNT, tenant_id="deleted-meanwhile")
        stores.usage.add([segment(1, AMOUNT), segment(1, theirs), segment(1, nobody)])
        (total,) = totals(stores.usage, UsageGroup.DEPLOYMENT, tenant_id=OTHER_TENANT_ID)
        assert total.units == {"requests": 4}
        assert totals(stores.usage, tenant_id="deleted-meanwhile") == []
        assert len(list(stores.usage.find_segments(OTHER_TENANT_ID, MINUTE, MINUTE))) == 1
        of_all = totals(stores.usage, UsageGroup.TENANT, tenant_id=None)
        assert [(one.group["tenant_id"], one.units["requests"]) for one in of_all] == [
            (TENANT, 3),
            (OTHER_TENANT_ID, 4),
        ]

    def test_what_others_used_of_shared_deployments_is_apart(self, stores: Stores) -> None:
        shared = replace(AMOUNT, caller=OTHER_TENANT_ID, key_id="", amount=8)
        stores.usage.add([segment(1, AMOUNT, shared)])
        (own,) = totals(stores.usage)
        assert own.units == {"requests": 3}
        (others,) = totals(stores.usage, UsageGroup.CALLER, shared=True)
        assert (others.group, others.units) == ({"caller": OTHER_TENANT_ID}, {"requests": 8})

    def test_segments_are_found_by_time(self, stores: Stores) -> None:
        def at(minutes: int) -> dict[str, Any]:
            begin = MINUTE + timedelta(minutes=minutes)
            return {"first_at": begin, "last_at": begin + timedelta(seconds=40)}

        stores.usage.add([segment(one, AMOUNT, **at(one)) for one in range(80)])
        since, until = MINUTE + timedelta(minutes=9.5), MINUTE + timedelta(minutes=52)
        found = [one.data for one in stores.usage.find_segments(TENANT, since, until)]
        assert found == [b"segment %d" % one for one in range(9, 53)]

    def test_segments_with_ids_of_callers_are_found_newest_first(self, stores: Stores) -> None:
        marked = [
            segment(
                one, AMOUNT, other_ids=b"ab%d" % (one % 3) if one % 2 else b"", run_id=f"r{one:02}"
            )
            for one in range(80)
        ]
        stores.usage.add(marked)
        find = stores.usage.segments_with_other_ids
        found = [one.data for one in find(TENANT, lambda _: True)]
        assert found == [b"segment %d" % one for one in range(79, 0, -2)]
        some = [one.data for one in find(TENANT, lambda fingerprints: fingerprints == b"ab0")]
        assert some == [b"segment %d" % one for one in range(75, 0, -6)]

    def test_retention_deletes_segments_and_totals_apart(self, stores: Stores) -> None:
        later = MINUTE + timedelta(minutes=5)
        stores.usage.add(
            [
                segment(1, AMOUNT),
                segment(2, replace(AMOUNT, minute=NUMBER + 5), last_at=later, first_at=later),
            ]
        )
        assert stores.usage.delete_segments(MINUTE + timedelta(minutes=1)) == 1
        found = stores.usage.find_segments(TENANT, MINUTE, later)
        assert [one.data for one in found] == [b"segment 2"]
        (total,) = totals(stores.usage)
        assert total.units == {"requests": 6}
        assert stores.usage.delete_totals(later) == 1
        (total,) = totals(stores.usage)
        assert total.units == {"requests": 3}

    def test_prices_are_kept_as_they_are(self, stores: Stores) -> None:
        assert stores.prices.all() == []
        price = Price(
            "p1", "images", Decimal("0.100000000001"), 1000, "EUR", MINUTE, None, NOW, "owner"
        )
        other = replace(price, price_id="p2", tenant="other", deployment="a*", amount=Decimal(0))
        stores.prices.put(price)
        stores.prices.put(other)
        ended = replace(price, valid_until=MINUTE + timedelta(days=1))
        stores.prices.put(ended)
        assert sorted(stores.prices.all(), key=lambda one: one.price_id) == [ended, other]
