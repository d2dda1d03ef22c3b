"""What must be done now and then while a server runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from modelry.bootstrap.access import NOTE_USE_S
from modelry.bootstrap.installation import Installation
from modelry.domain.errors import ModelryError
from modelry.domain.quotas import Quota
from modelry.services.quotas.exchange import EXCHANGE_S

log = logging.getLogger(__name__)

METER_S = 1.0
JOBS_S = 5.0
"""How late what an attempt at a job used is in the ledger, if nobody asks."""
CHECK_S = 2.0
FOLLOW_S = 3.0
"""How late a deployment that another server changed is changed here."""
PRICES_S = 3.0
"""How late a price that another server changed counts on budgets here."""
DELETE_S = 1.0
SWEEP_S = 3600.0
CERTIFICATE_S = 5.0
"""How late changed files of the TLS certificate are read again."""
COLLECT_S = 1.0
HEADS_S = 60.0
"""How much of the audit log's end could be cut off without a signed head that tells."""
LATE_S = 5.0
LET_GO_S = 30.0
RULES_S = 3.0
"""How late a deployment's requests are kept, or kept no more, as another server was told."""


class Upkeep:
    """Meters, checks the database, follows other servers on it, deletes tenants, sweeps.

    Args:
        installation: what to look after.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._database_error: str | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def readiness(self) -> Mapping[str, Any]:
        """Whether requests can be taken, as of the last check."""
        error = self._database_error
        return {"ready": error is None, "database": error or "ok", "sandbox": self._sandbox()}

    def _sandbox(self) -> Mapping[str, Any]:
        report = self._installation.sandbox.known
        required = self._installation.settings.require_sandbox
        told = {"level": "being tried"} if report is None else report.to_wire()
        return {**told, "required": required.value}

    def start(self) -> None:
        """Begin; needs a running event loop."""
        installation = self._installation
        installation.usage.ledger.start()
        installation.request_logs.queue.start()
        loop = asyncio.get_running_loop()
        accounts = installation.inference.accounts

        def changed(quota: Quota) -> None:
            loop.call_soon_threadsafe(accounts.change, quota)

        installation.quotas.on_change(changed)
        installation.usage.before_questions(partial(self._collect_usage, loop))
        self._tasks = [
            asyncio.create_task(_every(METER_S, installation.meter)),
            asyncio.create_task(_every(JOBS_S, installation.jobs.metering.sweep, in_thread=True)),
            asyncio.create_task(_every(CHECK_S, self._check_database, in_thread=True)),
            asyncio.create_task(_every(NOTE_USE_S, installation.access.note_used, in_thread=True)),
            asyncio.create_task(_every(DELETE_S, installation.deletions.advance, in_thread=True)),
            asyncio.create_task(_every(FOLLOW_S, installation.deployments.follow)),
            asyncio.create_task(_every(EXCHANGE_S, installation.counts.run)),
            asyncio.create_task(_every(PRICES_S, installation.prices.refresh, in_thread=True)),
            asyncio.create_task(_every(LATE_S, self._bring_audit, in_thread=True)),
            asyncio.create_task(
                _every(RULES_S, installation.request_logs.read_rules, in_thread=True)
            ),
            asyncio.create_task(_every(HEADS_S, installation.audit.keep_heads, in_thread=True)),
            asyncio.create_task(_every(SWEEP_S, self._sweep, in_thread=True)),
            asyncio.create_task(
                _every(LET_GO_S, installation.jobs.letting_go.sweep, in_thread=True)
            ),
        ]
        certificate = installation.certificate
        if certificate is not None:
            work = _every(CERTIFICATE_S, certificate.refresh, in_thread=True)
            self._tasks.append(asyncio.create_task(work))

    async def stop(self) -> None:
        """End, and save what was metered last."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._installation.meter()
        await self._installation.counts.run()
        await asyncio.to_thread(self._installation.usage.ledger.stop)
        await asyncio.to_thread(self._installation.request_logs.queue.stop)
        await asyncio.to_thread(self._end_audit)

    def _collect_usage(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bring to the ledger what was used until now; in a thread."""
        try:
            self._installation.jobs.metering.sweep()
        except ModelryError as error:  # such as a database that is busy: it is brought later
            log.warning("jobs could not be metered now: %s", error.message)
        _in_loop(loop, self._installation.meter)

    def _bring_audit(self) -> None:
        self._installation.trail.bring_late()
        self._installation.denials.bring()

    def _end_audit(self) -> None:
        self._installation.trail.bring_late()
        self._installation.denials.bring(is_last=True)
        try:
            self._installation.audit.keep_heads()
        except ModelryError:
            log.exception("the last heads of the audit log are not kept")

    def _check_database(self) -> None:
        try:
            self._installation.database.check()
        except ModelryError as error:
            self._database_error = error.message
        else:
            self._database_error = None

    def _sweep(self) -> None:
        installation = self._installation
        installation.files.sweep()  # first: what expired may be collected then
        installation.catalog.sweep()
        installation.sessions.sweep()
        settings, now = installation.settings, datetime.now(UTC)
        installation.usage.delete_old(
            now - timedelta(days=settings.usage_records_days),
            now - timedelta(days=settings.usage_totals_days),
        )
        installation.retention.sweep()


def _in_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
    """Have the event loop do `work`, for another thread, which waits for it a little."""
    done = threading.Event()

    def act() -> None:
        work()
        done.set()

    with contextlib.suppress(RuntimeError):  # the loop has ended, and with it what was metered
        loop.call_soon_threadsafe(act)
        done.wait(COLLECT_S)


async def _every(period_s: float, work: Callable[[], Any], *, in_thread: bool = False) -> None:
    """Do `work` now and then every `period_s` seconds; a failure is logged, not the end."""
    while True:
        started = time.monotonic()
        try:
            if in_thread:
                await asyncio.to_thread(work)
            elif (going := work()) is not None:
                await going
        except Exception:  # upkeep must go on whatever happened once
            log.exception("upkeep failed; it is tried again")
        await asyncio.sleep(max(0.0, period_s - (time.monotonic() - started)))
