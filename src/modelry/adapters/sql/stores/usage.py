"""The usage store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from modelry.adapters.sql.tables import TenantRow, UsageRow, UsageSegmentRow
from modelry.adapters.sql.transactions import Transactions
from modelry.services.usage.ports import (
    LONGEST_SEGMENT,
    KeptSegment,
    Segment,
    TotalsQuery,
    UsageAmount,
    UsageGroup,
    UsageTotal,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AMOUNT_KEY = tuple(field.name for field in fields(UsageAmount) if field.name != "amount")
_CHUNK = 256
"""Segments whose keys are read at once."""
_MINUTES_OF = {UsageGroup.MINUTE: 1, UsageGroup.HOUR: 60, UsageGroup.DAY: 1440}


class SqlUsageStore:
    """Implements `UsageStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def add(self, segments: Sequence[Segment]) -> None:
        """See `UsageStore.add`."""

        def work(session: Session) -> None:
            # a tenant deleted since has nobody to bill
            tenants = set(session.scalars(select(TenantRow.tenant_id)))
            added = [one for one in segments if one.tenant_id in tenants and _add(session, one)]
            _add_up(session, added)

        if segments:
            self._transactions.write_all_tenants("flush usage", work)

    def totals(self, query: TotalsQuery) -> list[UsageTotal]:
        """See `UsageStore.totals`."""

        def work(session: Session) -> list[UsageTotal]:
            return _totals(session, query)

        if query.tenant_id is None:
            return self._transactions.read_all_tenants("usage of all tenants", work)
        return self._transactions.read(query.tenant_id, work)

    def find_segments(
        self, tenant_id: str, first: datetime, last: datetime
    ) -> Iterator[KeptSegment]:
        """See `UsageStore.find_segments`."""
        row = UsageSegmentRow
        query = select(row.last_at, row.run_id, row.sequence).where(
            row.last_at >= first, row.last_at <= last + LONGEST_SEGMENT, row.first_at <= last
        )
        for chunk in self._chunks(tenant_id, query, newest_first=False):
            yield from self._whole(tenant_id, [(place[1], place[2]) for place in chunk])

    def segments_with_other_ids(
        self, tenant_id: str, may_match: Callable[[bytes], bool]
    ) -> Iterator[KeptSegment]:
        """See `UsageStore.segments_with_other_ids`."""
        row = UsageSegmentRow
        query = select(row.last_at, row.run_id, row.sequence, row.other_ids).where(
            row.other_ids.is_not(None)
        )
        for chunk in self._chunks(tenant_id, query, newest_first=True):
            matching = [(place[1], place[2]) for place in chunk if may_match(place[3])]
            yield from self._whole(tenant_id, matching)

    def _chunks(
        self, tenant_id: str, query: Select[*tuple[Any, ...]], *, newest_first: bool
    ) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of `query`, which begin with the columns that order them, some at a time."""
        columns = (UsageSegmentRow.last_at, UsageSegmentRow.run_id, UsageSegmentRow.sequence)
        ordered = query.order_by(*(one.desc() if newest_first else one for one in columns))
        place: tuple[Any, ...] | None = None
        while True:
            after = ordered
            if place is not None:
                here, there = tuple_(*columns), tuple_(*place)
                after = ordered.where(here < there if newest_first else here > there)
            found = self._transactions.read(tenant_id, partial(_read, after.limit(_CHUNK)))
            yield found
            if len(found) < _CHUNK:
                return
            place = found[-1][:3]

    def _whole(self, tenant_id: str, keys: Sequence[tuple[str, int]]) -> Iterator[KeptSegment]:
        """The segments with these keys, in this order, one at a time: each may be large."""
        row = UsageSegmentRow
        for run_id, sequence in keys:
            query = select(row.data).where(row.run_id == run_id, row.sequence == sequence)
            for (data,) in self._transactions.read(tenant_id, partial(_read, query)):
                yield KeptSegment(tenant_id, data)

    def delete_segments(self, before: datetime) -> int:
        """See `UsageStore.delete_segments`."""
        return self._delete(delete(UsageSegmentRow).where(UsageSegmentRow.last_at < before))

    def delete_totals(self, before: datetime) -> int:
        """See `UsageStore.delete_totals`."""
        return self._delete(delete(UsageRow).where(UsageRow.minute < _minute_of(before)))

    def _delete(self, statement: Any) -> int:
        def work(session: Session) -> int:
            return int(session.execute(statement).rowcount)  # type: ignore[attr-defined] # of a cursor

        return self._transactions.write_all_tenants("usage retention", work)


def _read(wanted: Select[*tuple[Any, ...]], session: Session) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in session.execute(wanted)]


def _add(session: Session, segment: Segment) -> bool:
    """Keep a segment; False when it is kept already."""
    key = (segment.tenant_id, segment.run_id, segment.sequence)
    row = UsageSegmentRow
    known = select(row.sequence).where(tuple_(row.tenant_id, row.run_id, row.sequence) == key)
    if session.scalar(known) is not None:
        return False
    session.add(
        UsageSegmentRow(
            tenant_id=segment.tenant_id,
            run_id=segment.run_id,
            sequence=segment.sequence,
            first_at=segment.first_at,
            last_at=segment.last_at,
            records=segment.records,
            data=segment.data,
            other_ids=segment.other_ids or None,
        )
    )
    return True


def _add_up(session: Session, segments: Sequence[Segment]) -> None:
    sums: Counter[tuple[Any, ...]] = Counter()
    for segment in segments:
        for amount in segment.amounts:
            sums[tuple(getattr(amount, name) for name in _AMOUNT_KEY)] += amount.amount
    if not sums:
        return
    query = select(UsageRow).where(
        UsageRow.tenant_id.in_({key[0] for key in sums}),
        UsageRow.minute.in_({key[1] for key in sums}),
    )
    known = {
        tuple(getattr(row, name) for name in _AMOUNT_KEY): row for row in session.scalars(query)
    }
    for key, more in sums.items():
        row = known.get(key)
        if row is None:
            session.add(UsageRow(**dict(zip(_AMOUNT_KEY, key, strict=True)), amount=more))
        else:
            row.amount += more


def _totals(session: Session, query: TotalsQuery) -> list[UsageTotal]:
    columns = [_column(group) for group in query.group_by]
    conditions = _conditions(query)
    if columns and query.limit is not None:
        places = (
            select(*columns).where(*conditions).distinct().order_by(*columns).limit(query.limit)
        )
        groups = [tuple(row) for row in session.execute(places)]
        if not groups:
            return []
        here = tuple_(*columns)
        conditions += [here >= tuple_(*groups[0]), here <= tuple_(*groups[-1])]
    sums = (
        select(*columns, UsageRow.unit, func.sum(UsageRow.amount))
        .where(*conditions)
        .group_by(*columns, UsageRow.unit)
        .order_by(*columns, UsageRow.unit)
    )
    units: dict[tuple[str, ...], dict[str, int]] = {}
    for *group, unit, amount in session.execute(sums):
        words = tuple(map(_word, query.group_by, group))
        units.setdefault(words, {})[unit] = int(amount)
    names = [group.value for group in query.group_by]
    return [
        UsageTotal(dict(zip(names, words, strict=True)), found) for words, found in units.items()
    ]


def _conditions(query: TotalsQuery) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        UsageRow.minute >= _minute_of(query.since),
        UsageRow.minute < _minute_of(query.until),
        UsageRow.caller != "" if query.shared else UsageRow.caller == "",
    ]
    for group, words in query.where:
        column = _column(group)
        conditions.append(or_(*(column == _value(group, word) for word in words)))
    if query.after:
        here, there = _places(query, query.after)
        conditions.append(here > there)
    if query.up_to:
        here, there = _places(query, query.up_to)
        conditions.append(here <= there)
    return conditions


def _places(query: TotalsQuery, words: tuple[str, ...]) -> tuple[Any, Any]:
    groups = query.group_by[: len(words)]
    return tuple_(*map(_column, groups)), tuple_(*map(_value, groups, words))


def _column(group: UsageGroup) -> ColumnElement[Any] | InstrumentedAttribute[Any]:
    minutes = _MINUTES_OF.get(group)
    if minutes is None:
        column: InstrumentedAttribute[Any] = getattr(UsageRow, group.value)
        return column
    return UsageRow.minute // minutes


def _word(group: UsageGroup, value: Any) -> str:
    minutes = _MINUTES_OF.get(group)
    if minutes is None:
        return str(value)
    return (_EPOCH + timedelta(minutes=value * minutes)).isoformat()


def _value(group: UsageGroup, word: str) -> str | int:
    """What `_word` told, or a caller asked for, as the column has it."""
    minutes = _MINUTES_OF.get(group)
    if minutes is not None:
        return _minute_of(datetime.fromisoformat(word)) // minutes
    return int(word) if group is UsageGroup.VERSION else word


def _minute_of(moment: datetime) -> int:
    """Whole minutes from 1970 to `moment`."""
    return int((moment - _EPOCH) // timedelta(minutes=1))
