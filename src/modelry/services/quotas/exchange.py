"""How the gateways on one database share limits: what each used is told to the others."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta

from modelry.domain.quotas import Quota
from modelry.services.quotas.accounts import Accounts, Level
from modelry.services.quotas.gates import Gate
from modelry.services.quotas.periods import first_of_month, utc_now
from modelry.services.quotas.ports import Picture, QuotaStore, Report, Subject, UseKey

log = logging.getLogger(__name__)

EXCHANGE_S = 1.0
"""How often a gateway tells the others what was used on it, and hears what was on them.

It is the bound of all that lags: between two exchanges each gateway admits as if it were alone, and
what it admitted is lost if it is killed. What others used is then taken from the buckets here, into
debt if need be, so that the rate holds over time: with n gateways at most
(n - 1) * (burst + rate * `EXCHANGE_S`) more than the limit is admitted, however long it goes on.
"""
ANNOUNCE_S = 3.0
GATEWAY_LIFE_S = 10.0
"""A gateway that told nothing for so long counts as ended."""
_KEPT_DAYS = 62

_Total = tuple[str, str, str]


class CountExchange:
    """Keeps the accounts of this process in step with those of others.

    Args:
        store: what all gateways share.
        accounts: those of this process; used on the event loop only.
        clock: gives the time of day.
    """

    def __init__(
        self, store: QuotaStore, accounts: Accounts, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._clock = clock
        self._gateway_id = secrets.token_hex(12)
        self._seen: Mapping[UseKey, float] | None = None
        self._month: dict[_Total, float] = {}
        self._month_until = date.min
        self._told_open: set[Subject] = set()
        self._announced = datetime.min.replace(tzinfo=UTC)

    async def run(self) -> None:
        """Exchange once. If the store cannot be reached, what was to be told is kept."""
        report = self._collect()
        try:
            picture = await asyncio.to_thread(self._exchange, report)
        except BaseException:
            self._give_back(report)
            raise
        self._take_over(report, picture)

    def apply(self, quotas: Iterable[Quota]) -> None:
        """Use these limits from now on."""
        self._accounts.apply({(one.tenant_id, one.key_id): one.limits for one in quotas})

    def _exchange(self, report: Report) -> Picture:
        yesterday = report.at.date() - timedelta(days=1)
        first = first_of_month(report.at.date())
        if self._month_until != yesterday:
            month = self._store.month_use(first, yesterday) if first < yesterday else {}
            self._store.forget(
                yesterday - timedelta(days=_KEPT_DAYS),
                report.at - timedelta(seconds=GATEWAY_LIFE_S),
            )
            self._month, self._month_until = month, yesterday
        return self._store.exchange(report)

    def _collect(self) -> Report:
        now = self._clock()
        used: dict[UseKey, float] = {}
        open_: dict[Subject, int] = {}
        shares_open = False
        self._accounts.give_back()
        for level in self._accounts.levels():
            for gate in level.gates:
                if gate.pending:
                    used[_use_key(level, gate, now.date())] = gate.pending
                    gate.pending = 0.0
            subject = (level.tenant_id, level.key_id)
            if level.limits.concurrent_requests is None:
                continue
            shares_open = True
            if level.open or subject in self._told_open:
                open_[subject] = level.open
        self._told_open = {subject for subject, count in open_.items() if count}
        announces = shares_open and now - self._announced >= timedelta(seconds=ANNOUNCE_S)
        if announces:
            self._announced = now
        return Report(self._gateway_id, now, used, open_, announces)

    def _give_back(self, report: Report) -> None:
        self._told_open |= set(report.open)
        for level in self._accounts.levels():
            for gate in level.gates:
                gate.pending += report.used.get(_use_key(level, gate, report.at.date()), 0.0)

    def _take_over(self, report: Report, picture: Picture) -> None:
        now, today = time.monotonic(), report.at.date()
        self._accounts.known_use = self._known(picture, today)
        self.apply(picture.quotas)
        elsewhere = self._elsewhere(report, picture)
        for level in self._accounts.levels():
            subject = (level.tenant_id, level.key_id)
            level.share_open(picture.open.get(subject, 0), picture.gateways)
            for gate in level.gates:
                total = (*subject, gate.counted_as)
                day, month = self._accounts.known_use.get(total, (0.0, 0.0))
                gate.day, gate.month = day + gate.pending, month + gate.pending
                if total in elsewhere:
                    gate.used_elsewhere(elsewhere[total], now)
        self._seen = picture.used

    def _known(self, picture: Picture, today: date) -> dict[_Total, tuple[float, float]]:
        """What was used today, and this month, by everybody who used anything."""
        first = first_of_month(today)
        days: dict[_Total, float] = {}
        months = dict(self._month)
        for key, amount in picture.used.items():
            if key.day == today:
                days[key[:3]] = amount
            if key.day >= first:
                months[key[:3]] = months.get(key[:3], 0.0) + amount
        return {total: (days.get(total, 0.0), month) for total, month in months.items()}

    def _elsewhere(self, report: Report, picture: Picture) -> dict[_Total, float]:
        """What others used since the last exchange."""
        found: dict[_Total, float] = {}
        if self._seen is None:
            return found
        for key, amount in picture.used.items():
            others = amount - self._seen.get(key, 0.0) - report.used.get(key, 0.0)
            if others > 0:
                found[key[:3]] = found.get(key[:3], 0.0) + others
        return found


def _use_key(level: Level, gate: Gate, day: date) -> UseKey:
    return UseKey(level.tenant_id, level.key_id, gate.counted_as, day)
