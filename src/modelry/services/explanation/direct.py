"""Explanations by gradients that a caller waits for: a process is asked at once, and nothing kept.

What the process needs of the server it gets in the caller's name, as part of the caller's request.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from modelry.domain.access import Permission, Principal, TenantState
from modelry.domain.errors import DeadlineExceeded, ModelryError
from modelry.domain.usage import CPU, NO_COMPUTE, Compute, Origin
from modelry.explaining.asked import Asked
from modelry.explaining.course import CHECKING, EXPLAINING, Progress
from modelry.gradients.contract import WORK
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.work import Json, WorkLimits, Works
from modelry.services.catalog.contents import Contents
from modelry.services.explanation.counting import EXPLAINED, check_explanations, take_explanation
from modelry.services.explanation.following import Following, check_gradients, order_for
from modelry.services.explanation.places import Places
from modelry.services.explanation.waiting_threads import WaitingThreads
from modelry.services.inference.answers import Explanation
from modelry.services.inference.authentication import tenant_refusal
from modelry.services.inference.explanations import OnProgress
from modelry.services.inference.metering import OK, open_request
from modelry.services.inference.request_ids import current_request_id
from modelry.services.inference.routing import Target
from modelry.services.inference.service import InferenceService
from modelry.services.jobs.loop_calls import LoopCaller


@dataclass(frozen=True, slots=True)
class Calculating:
    """What processes that calculate need.

    Attributes:
        inference: asks the version that serves.
        contents: have the files of versions.
        works: runs the work `explain-one`.
        limits: what one may use.
    """

    inference: InferenceService
    contents: Contents
    works: Works
    limits: WorkLimits


class DirectExplanations:
    """Explains answers by gradients while the caller waits. Used on the event loop alone.

    Args:
        calculating: what is needed for it.
        most: how many processes calculate at once.
    """

    def __init__(self, calculating: Calculating, most: int) -> None:
        self._with = calculating
        self._places = Places(most, self._are_shared)
        self._threads = WaitingThreads("explanation")
        self._open: set[_Question] = set()

    def _are_shared(self) -> bool:
        return len(self._with.inference.authenticator.tenants) > 1

    @property
    def calculating(self) -> int:
        """How many processes calculate, or end."""
        return self._places.taken

    def check(self, principal: Principal, target: Target, method: str) -> None:
        """See that a version may be explained so to a caller, as far as it can be told beforehand.

        Raises:
            PermissionDenied: the caller may start nothing that computes.
            NotSupported, InvalidInput: as `check_gradients`.
        """
        principal.require(Permission.JOBS_WRITE)
        check_gradients(principal, target, method)

    async def explain(
        self,
        principal: Principal,
        target: Target,
        asked: Asked,
        on_progress: OnProgress | None = None,
    ) -> Explanation:
        """Explain an answer; leaving early (task cancelled) ends the calculation.

        Args:
            principal: who asks.
            target: the version.
            asked: what of it, by which method.
            on_progress: is told how far it is.

        Raises:
            PermissionDenied, NotSupported, InvalidInput: as `check`, or the process found it so.
            QuotaExceeded, BudgetExceeded: the caller's limits allow no explanation now.
            Overloaded: there is no place, nor room to wait for one.
            DeadlineExceeded: it took longer than answers of the deployment may.
            WorkFailed: the process ended without an answer.
        """
        self.check(principal, target, str(asked.wish.method))
        await check_explanations(self._with.inference, principal)
        most_s = target.group.limits.deadline_s
        try:
            async with asyncio.timeout(most_s) as deadline:
                await self._places.take(principal.tenant_id)
                return await self._explained(principal, target, asked, on_progress)
        except TimeoutError:
            if not deadline.expired():
                raise  # of a process that was not to be reached, say
            raise DeadlineExceeded(
                f"No answer within the deployment's deadline of {most_s:g} s. Ask for a job "
                '("job": true), which takes as long as it needs, or for less: fewer "calls", or '
                '"seconds".'
            ) from None

    async def _explained(
        self, principal: Principal, target: Target, asked: Asked, on_progress: OnProgress | None
    ) -> Explanation:
        try:
            if not asked.wish.checks:  # else the worker that measures counts it
                take_explanation(self._with.inference, principal, target)
                request = open_request.get()
                if request is not None:
                    request.used(EXPLAINED)
            question = _Question(self._with, principal, target, asked, on_progress)
            question.begin(self._threads, self._ended)
            self._open.add(question)  # before the loop can be told that it has ended
        except BaseException:
            self._places.leave(principal.tenant_id)
            raise
        return await question.answer()

    def _ended(self, question: _Question) -> None:
        self._open.discard(question)
        self._places.leave(question.principal.tenant_id)
        self._with.inference.meter.note(*question.used())

    def cut_off(self, error: ModelryError, tenant_id: str | None = None) -> None:
        """End what is calculated or waits with `error`; for one tenant's callers only, if given."""
        self._places.turn_away(error, tenant_id)
        for question in list(self._open):
            if tenant_id in (None, question.principal.tenant_id):
                question.cut_off(error)

    def cut_off_strangers(self, tenants: Mapping[str, TenantState]) -> None:
        """End what is calculated, or waits, for tenants that are not active."""
        for tenant_id in self._places.tenants():
            state = tenants.get(tenant_id, TenantState.DELETING)
            if state is not TenantState.ACTIVE:
                self.cut_off(tenant_refusal(state), tenant_id)


class _Question:
    """One that a process works on, in a thread that waits for it."""

    def __init__(
        self,
        calculating: Calculating,
        principal: Principal,
        target: Target,
        asked: Asked,
        on_progress: OnProgress | None,
    ) -> None:
        self.principal = principal
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._stop = StopSignal()
        self._found: asyncio.Future[Json] = self._loop.create_future()
        self._request_id = f"{current_request_id.get()}.1".encode()
        self._began = time.monotonic()
        self._status = OK
        self._with = calculating
        self._client = _Client(
            calculating,
            (principal, target, asked),
            LoopCaller(self._loop, self._stop, copy_context()),
            on_progress,
            self._loop,
        )

    def begin(self, threads: WaitingThreads, ended: Callable[[_Question], None]) -> None:
        """Ask a process; `ended` is called on the loop when it does nothing for it any more."""

        def work() -> None:
            found: Json | None = None
            error: BaseException | None = None
            try:
                order = order_for(self._target, self._with.limits)
                found = self._with.works.run(order, self._client, self._stop)
            except BaseException as raised:  # noqa: BLE001 - it is raised where it is waited for
                error = raised
            self._loop.call_soon_threadsafe(self._take, found, error, ended)

        threads.run(work)

    def _take(
        self, found: Json | None, error: BaseException | None, ended: Callable[[_Question], None]
    ) -> None:
        if isinstance(error, ModelryError):
            self._status = error.code
        if not self._found.done():
            if error is not None:
                self._found.set_exception(error)
            else:
                self._found.set_result(found or {})
        ended(self)

    async def answer(self) -> Explanation:
        """What the process found.

        Raises:
            ModelryError: what it failed with.
        """
        try:
            told = dict(await self._found)
        except asyncio.CancelledError:
            self._stop.set()
            raise
        picture = told.pop("picture", None)
        usage = told.pop("usage", {})
        drawn = base64.b64decode(picture) if picture else b""
        return Explanation(self._target, told, drawn, usage)

    def cut_off(self, error: ModelryError) -> None:
        """End it with an error."""
        if not self._found.done():
            self._found.set_exception(error)
        self._stop.set()

    def used(self) -> tuple[Any, ...]:
        """What its process used, for the meter: as the process of a job would be metered."""
        tenant_id, compute = self.principal.tenant_id, self._client.compute
        origin = _origin_of(tenant_id)
        key = (origin, tenant_id, self.principal.key_id, self._status, "", b"")
        units = {CPU: compute.cpu_us}
        return key, self._began, time.monotonic(), self._request_id, (units, compute.engine_us)


@lru_cache(maxsize=1024)
def _origin_of(tenant_id: str) -> Origin:
    """What the ledger says of processes that explain: as of the jobs that do."""
    return Origin(tenant_id, f"({WORK})", "", 0, WORK)


class _Client(Following):
    """The server's side of the work, for a caller who waits."""

    def __init__(
        self,
        calculating: Calculating,
        question: tuple[Principal, Target, Asked],
        caller: LoopCaller,
        on_progress: OnProgress | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        principal, target, asked = question
        super().__init__(
            principal,
            target,
            asked,
            inference=calculating.inference,
            contents=calculating.contents,
            caller=caller,
            on_progress=on_progress and self._checking,
        )
        self.compute: Compute = NO_COMPUTE
        """What the process used so far."""
        self._tell = on_progress
        self._loop = loop
        self._is_checking = False

    def _checking(self, far: Progress) -> None:
        self._is_checking = True
        if self._tell is not None:
            self._tell(Progress(CHECKING, far.calls, far.most_calls))

    def progress(self, done: int, total: int | None, unit: str, phase: str) -> None:
        """See `WorkClient.progress`."""
        del unit, phase
        if self._tell is not None and not self._is_checking:
            self._loop.call_soon_threadsafe(self._tell, Progress(EXPLAINING, done, total))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `WorkClient.metrics`; nobody looks."""

    def log(self, line: str) -> None:
        """See `WorkClient.log`; nobody looks."""

    def used(self, compute: Compute) -> None:
        """See `WorkClient.used`."""
        self.compute += compute
