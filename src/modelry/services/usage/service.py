"""Use cases on what was used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import InvalidInput, NotFound, PermissionDenied
from modelry.domain.usage import UsageRecord
from modelry.services.inference.request_ids import sound_request_id
from modelry.services.usage.costs import CostedTotal, with_costs
from modelry.services.usage.ledger import Ledger
from modelry.services.usage.ports import TotalsQuery, UsageGroup, UsageStore
from modelry.services.usage.prices import PricesService
from modelry.services.usage.segment_reader import SegmentReader
from modelry.services.usage.tracing import find_records

MAX_BY_MINUTE = timedelta(days=7)
MAX_RECORDS_TIME = timedelta(days=31)
SETTLE_S = 5.0
"""How long a question waits for what is on its way to the store."""
EXPORT_PAGE = 1000
TIMES = (UsageGroup.MINUTE, UsageGroup.HOUR, UsageGroup.DAY)


@dataclass(frozen=True, slots=True)
class TotalsAsked:
    """What a caller wants to know of its usage; see `TotalsQuery`."""

    since: datetime
    until: datetime
    group_by: tuple[UsageGroup, ...] = ()
    where: Mapping[UsageGroup, tuple[str, ...]] | None = None
    shared: bool = False
    all_tenants: bool = False
    limit: int | None = None
    after: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class TotalsPage:
    """Totals, and the group to go on after when there may be more."""

    totals: list[CostedTotal]
    next_after: tuple[str, ...] | None


class UsageService:
    """Answers questions about usage; what was answered before a question is asked counts in it.

    Args:
        store: keeps usage.
        ledger: brings it there.
        prices: what it costs.
    """

    def __init__(self, store: UsageStore, ledger: Ledger, prices: PricesService) -> None:
        self._store = store
        self._prices = prices
        self._collect: Callable[[], None] = lambda: None
        self.ledger = ledger

    def before_questions(self, collect: Callable[[], None]) -> None:
        """Have `collect` bring what was metered to the ledger before a question is answered."""
        self._collect = collect

    def totals(self, principal: Principal, asked: TotalsAsked) -> TotalsPage:
        """What was used, in whole minutes, by what `asked` groups by, and what it cost.

        A key that is for some deployments sees what was used of these alone.

        Raises:
            PermissionDenied: the caller may not see usage, or not that of all tenants.
            InvalidInput: times without timezone or in the wrong order, a repeated group, or
                values that a group cannot have.
        """
        principal.require(Permission.METRICS_READ)
        if asked.all_tenants:
            principal.require(Permission.PLATFORM_READ)
            if principal.deployments:
                raise PermissionDenied(
                    "This key is for some deployments only; usage of all tenants is told to keys "
                    "for all."
                )
        query = _query(principal, asked)
        if query is None:
            return TotalsPage([], None)
        self._settle()
        return self._page(query)

    def all_totals(self, principal: Principal, asked: TotalsAsked) -> Iterator[CostedTotal]:
        """As `totals`, all pages one after the other; the first is there when this returns.

        Raises:
            PermissionDenied, InvalidInput: as `totals`.
        """
        first = self.totals(principal, replace(asked, limit=EXPORT_PAGE))
        return self._following(principal, asked, first)

    def _following(
        self, principal: Principal, asked: TotalsAsked, page: TotalsPage
    ) -> Iterator[CostedTotal]:
        while True:
            yield from page.totals
            if page.next_after is None:
                return
            more = replace(asked, limit=EXPORT_PAGE, after=page.next_after)
            page = self.totals(principal, more)

    def _page(self, query: TotalsQuery) -> TotalsPage:
        found = self._store.totals(query)
        costed = with_costs(query, found, self._prices.price_list(), self._store.totals)
        is_full = query.limit is not None and len(found) == query.limit and query.group_by
        return TotalsPage(costed, tuple(found[-1].group.values()) if is_full else None)

    def records(
        self, principal: Principal, since: datetime, until: datetime
    ) -> Iterator[UsageRecord]:
        """Every record of the caller's tenant of requests that began within a time; unordered.

        A key that is for some deployments gets the records of these.

        Raises:
            PermissionDenied: the caller may not see usage.
            InvalidInput: times without timezone, in the wrong order or too far apart.
        """
        principal.require(Permission.METRICS_READ)
        _check_times(since, until)
        if until - since > MAX_RECORDS_TIME:
            raise InvalidInput(
                f"Records of at most {MAX_RECORDS_TIME.days} days can be asked for at once.",
                param="since",
            )
        self._settle()
        return (
            record
            for segment in self._store.find_segments(principal.tenant_id, since, until)
            for record in SegmentReader(segment.tenant_id, segment.data).records()
            if since <= record.started_at < until and principal.covers(record.deployment)
        )

    def trace(self, principal: Principal, request_id: str) -> list[UsageRecord]:
        """The records of the caller's tenant with that request id, the newest first.

        There are several where a caller gave the same id to several requests.

        Raises:
            PermissionDenied: the caller may not see usage.
            NotFound: there is none, it is another tenant's, of a deployment that the key does not
                cover, or older than records are kept.
        """
        principal.require(Permission.METRICS_READ)
        found: list[UsageRecord] = []
        if sound_request_id(request_id.encode("ascii", "replace")) is not None:
            self._settle()
            found = [
                record
                for record in find_records(self._store, principal.tenant_id, request_id)
                if principal.covers(record.deployment)
            ]
        if not found:
            raise NotFound(
                f"There is no request {request_id[:80]!r} on record; it may be older than "
                "requests are kept.",
                param="request_id",
            )
        return found

    def delete_old(self, records_before: datetime, totals_before: datetime) -> None:
        """Delete the records and the totals of all tenants from before these times."""
        self._store.delete_segments(records_before)
        self._store.delete_totals(totals_before)

    def _settle(self) -> None:
        self._collect()
        self.ledger.settle(SETTLE_S)


def _query(principal: Principal, asked: TotalsAsked) -> TotalsQuery | None:
    """The query for a question; None when nothing can match it."""
    _check_times(asked.since, asked.until)
    groups = asked.group_by
    if len(set(groups)) != len(groups):
        raise InvalidInput("Name each group once.", param="group_by")
    if UsageGroup.TENANT in groups and not asked.all_tenants:
        raise InvalidInput(
            "Only usage of all tenants can be told apart by tenant_id; ask with all_tenants.",
            param="group_by",
        )
    if UsageGroup.CALLER in groups and not asked.shared:
        raise InvalidInput(
            "Only usage of shared deployments can be told apart by caller; ask with shared.",
            param="group_by",
        )
    if UsageGroup.MINUTE in groups and asked.until - asked.since > MAX_BY_MINUTE:
        raise InvalidInput(
            f"By minute, at most {MAX_BY_MINUTE.days} days can be asked for at once.",
            param="since",
        )
    where = dict(asked.where or {})
    for group, words in where.items():
        _check_words(group, words)
    if principal.deployments and not asked.all_tenants:
        own = frozenset(where.get(UsageGroup.DEPLOYMENT, principal.deployments))
        where[UsageGroup.DEPLOYMENT] = tuple(sorted(own & principal.deployments))
    if any(not words for words in where.values()):
        return None
    query = TotalsQuery(
        tenant_id=None if asked.all_tenants else principal.tenant_id,
        since=asked.since,
        until=asked.until,
        group_by=groups,
        where=tuple(where.items()),
        shared=asked.shared,
        limit=asked.limit,
    )
    return query if asked.after is None else replace(query, after=_checked_after(groups, asked))


def _check_times(since: datetime, until: datetime) -> None:
    if since.tzinfo is None or until.tzinfo is None or since >= until:
        raise InvalidInput(
            "Expected two times with timezone, 'since' before 'until', such as "
            "'2030-01-31T00:00:00Z'.",
            param="since",
        )


def _check_words(group: UsageGroup, words: tuple[str, ...]) -> None:
    for word in words:
        is_fit = word.isascii() and word.isdigit() and len(word) <= 9
        if group is UsageGroup.VERSION and not is_fit:
            raise InvalidInput(f"{word[:40]!r} is no version number.", param=group.value)


def _checked_after(groups: tuple[UsageGroup, ...], asked: TotalsAsked) -> tuple[str, ...]:
    after = asked.after or ()
    if len(after) != len(groups):
        raise InvalidInput("The cursor is not of a question with these groups.", param="cursor")
    for group, word in zip(groups, after, strict=True):
        _check_words(group, (word,))
        if group in TIMES:
            try:
                moment = datetime.fromisoformat(word)
            except ValueError:
                moment = None
            if moment is None or moment.tzinfo is None:
                raise InvalidInput("The cursor is not one that was told.", param="cursor")
    return after
