"""Use cases on what was used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import InvalidInput
from modelry.services.usage.ledger import Ledger
from modelry.services.usage.ports import TotalsQuery, UsageGroup, UsageStore, UsageTotal

MAX_BY_MINUTE = timedelta(days=7)
SETTLE_S = 2.0
"""How long a question waits for what is on its way to the store."""
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


class UsageService:
    """Answers questions about usage; what is asked for counts all that is in the ledger's hands.

    Args:
        store: keeps usage.
        ledger: brings it there.
    """

    def __init__(self, store: UsageStore, ledger: Ledger) -> None:
        self._store = store
        self.ledger = ledger

    def totals(self, principal: Principal, asked: TotalsAsked) -> list[UsageTotal]:
        """What was used, in whole minutes, by what `asked` groups by.

        A key that is for some deployments sees what was used of these alone.

        Raises:
            PermissionDenied: the caller may not see usage, or not that of all tenants.
            InvalidInput: times without timezone or in the wrong order, a repeated group, or
                values that a group cannot have.
        """
        principal.require(Permission.METRICS_READ)
        if asked.all_tenants:
            principal.require(Permission.PLATFORM_READ)
        query = _query(principal, asked)
        if query is None:
            return []
        self.ledger.settle(SETTLE_S)
        return self._store.totals(query)


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
