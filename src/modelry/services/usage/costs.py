"""What totals cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from modelry.domain.prices import PriceList, Use
from modelry.domain.usage import paid_units
from modelry.services.usage.ports import TotalsQuery, UsageGroup, UsageTotal

_PRICED_BY = (UsageGroup.DEPLOYMENT, UsageGroup.MODEL, UsageGroup.TASK, UsageGroup.STATUS)

Totals = Callable[[TotalsQuery], list[UsageTotal]]


@dataclass(frozen=True, slots=True)
class CostedTotal:
    """Sums of all units of a group, and what they cost, by currency."""

    group: dict[str, str]
    units: dict[str, int]
    costs: dict[str, Decimal]


def with_costs(
    query: TotalsQuery, totals: Sequence[UsageTotal], prices: PriceList, ask: Totals
) -> list[CostedTotal]:
    """`totals`, the answer to `query`, with their costs.

    Each part of the time within which no price changed is added up apart and at its own prices;
    so what was used once costs the same for ever.
    """
    costs: dict[tuple[str, ...], dict[str, Decimal]] = {}
    if prices.prices and totals:
        last = tuple(totals[-1].group.values())
        for group, more in _parts(replace(query, limit=None, up_to=last), prices, ask):
            known = costs.setdefault(group, {})
            for currency, cost in more.items():
                known[currency] = known.get(currency, Decimal(0)) + cost
    return [
        CostedTotal(one.group, one.units, costs.get(tuple(one.group.values()), {}))
        for one in totals
    ]


def _parts(
    query: TotalsQuery, prices: PriceList, ask: Totals
) -> Iterator[tuple[tuple[str, ...], dict[str, Decimal]]]:
    whose = UsageGroup.CALLER if query.shared else UsageGroup.TENANT
    owner = (UsageGroup.TENANT,) if query.shared else ()
    wanted = [*query.group_by]
    wanted += [one for one in (whose, *owner, *_PRICED_BY) if one not in wanted]
    names = [one.value for one in query.group_by]
    begin = _whole_minute(query.since)
    for since, until in prices.periods(begin, query.until):
        detailed = replace(query, since=since, until=until, group_by=tuple(wanted))
        for one in ask(detailed):
            units = paid_units(one.group["status"], one.units)
            costs = prices.cost(_use(one.group, whose), units, since)
            yield tuple(one.group[name] for name in names), costs


def _use(group: dict[str, str], whose: UsageGroup) -> Use:
    """What was used as the one who pays for it names it."""
    deployment = group["deployment"]
    if whose is UsageGroup.CALLER:
        deployment = f"{deployment}@{group['tenant_id']}"
    return Use(group[whose.value], deployment, group["model"], group["task"])


def _whole_minute(moment: datetime) -> datetime:
    return moment - timedelta(seconds=moment.second, microseconds=moment.microsecond)
