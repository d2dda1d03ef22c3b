"""Usage and prices in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from modelry.domain.prices import Price
from modelry.services.usage.ports import (
    KeptSegment,
    Segment,
    TotalsQuery,
    UsageAmount,
    UsageGroup,
    UsageTotal,
)

if TYPE_CHECKING:
    from modelry.testing.memory_database import MemoryDatabase
    from modelry.testing.memory_state import TenantState


class MemoryUsageStore:
    """A `UsageStore`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def add(self, segments: Sequence[Segment]) -> None:
        """See `UsageStore.add`."""
        for tenant_id in self._database.states():
            own = [one for one in segments if one.tenant_id == tenant_id]
            self._database.transact(tenant_id, lambda state, own=own: _keep(state, own))  # type: ignore[misc]

    def totals(self, query: TotalsQuery) -> list[UsageTotal]:
        """See `UsageStore.totals`."""
        within = [
            one
            for tenant_id, state in self._database.states().items()
            if query.tenant_id in (None, tenant_id)
            for segment in state.segments.values()
            for one in segment.amounts
            if query.since <= _minute(one.minute) < query.until
            and bool(one.caller) == query.shared
            and all(_word(one, group) in words for group, words in query.where)
        ]
        found = _summed(within, query.group_by)
        after, up_to = query.after, query.up_to
        if after:
            found = [one for one in found if tuple(one.group.values())[: len(after)] > after]
        if up_to:
            found = [one for one in found if tuple(one.group.values())[: len(up_to)] <= up_to]
        return found[: query.limit]

    def find_segments(
        self, tenant_id: str, first: datetime, last: datetime
    ) -> Iterator[KeptSegment]:
        """See `UsageStore.find_segments`."""
        for one in self._of(tenant_id):
            if one.last_at >= first and one.first_at <= last:
                yield KeptSegment(one.tenant_id, one.data)

    def segments_with_other_ids(
        self, tenant_id: str, may_match: Callable[[bytes], bool]
    ) -> Iterator[KeptSegment]:
        """See `UsageStore.segments_with_other_ids`."""
        for one in reversed(self._of(tenant_id)):
            if one.other_ids and may_match(one.other_ids):
                yield KeptSegment(one.tenant_id, one.data)

    def _of(self, tenant_id: str) -> list[Segment]:
        state = self._database.states().get(tenant_id)
        segments = {} if state is None else state.segments
        return sorted(
            (one for one in segments.values() if one.data),
            key=lambda one: (one.last_at, one.run_id, one.sequence),
        )

    def delete_segments(self, before: datetime) -> int:
        """See `UsageStore.delete_segments`."""

        def work(state: TenantState) -> int:
            old = [key for key, one in state.segments.items() if one.data and one.last_at < before]
            for key in old:  # what they add up to stays
                state.segments[key] = replace(state.segments[key], data=b"", other_ids=b"")
            return len(old)

        return sum(self._database.transact(one, work) for one in self._database.states())

    def delete_totals(self, before: datetime) -> int:
        """See `UsageStore.delete_totals`."""

        def work(state: TenantState) -> int:
            deleted: set[UsageAmount] = set()
            for key, one in state.segments.items():
                kept = tuple(each for each in one.amounts if _minute(each.minute) >= before)
                deleted |= {replace(each, amount=0) for each in set(one.amounts) - set(kept)}
                state.segments[key] = replace(one, amounts=kept)
            return len(deleted)

        return sum(self._database.transact(one, work) for one in self._database.states())


class MemoryPriceStore:
    """A `PriceStore`."""

    def __init__(self) -> None:
        self._prices: dict[str, Price] = {}

    def all(self) -> list[Price]:
        """See `PriceStore.all`."""
        return list(self._prices.values())

    def put(self, price: Price) -> None:
        """See `PriceStore.put`."""
        self._prices[price.price_id] = price


def _keep(state: TenantState, segments: Sequence[Segment]) -> None:
    for one in segments:
        state.segments.setdefault((one.run_id, one.sequence), one)


def _summed(amounts: Iterable[UsageAmount], groups: Sequence[UsageGroup]) -> list[UsageTotal]:
    sums: dict[tuple[str, ...], dict[str, int]] = {}
    for one in amounts:
        units = sums.setdefault(tuple(_word(one, group) for group in groups), {})
        units[one.unit] = units.get(one.unit, 0) + one.amount
    return [
        UsageTotal(
            {group.value: word for group, word in zip(groups, words, strict=True)},
            dict(sorted(units.items())),
        )
        for words, units in sorted(sums.items())
    ]


def _minute(number: int) -> datetime:
    return datetime.fromtimestamp(number * 60, UTC)


_MINUTES_OF = {UsageGroup.MINUTE: 1, UsageGroup.HOUR: 60, UsageGroup.DAY: 1440}


def _word(amount: UsageAmount, group: UsageGroup) -> str:
    minutes = _MINUTES_OF.get(group)
    if minutes is None:
        return str(getattr(amount, group.value))
    return _minute(amount.minute // minutes * minutes).isoformat()
