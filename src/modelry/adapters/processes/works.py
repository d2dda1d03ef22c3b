"""Runs each piece of work in a locked-down process of its own: `ProcessWorks`."""

from __future__ import annotations

import dataclasses

from modelry.adapters.processes.memory_groups import WorkerGroups
from modelry.adapters.processes.spares import SPARE_S, Asked, Spares
from modelry.adapters.processes.work_process import WorkProcess
from modelry.domain.errors import Cancelled
from modelry.domain.sandbox import DEFAULT_POLICY, SandboxPolicy
from modelry.runtime_api.engine import StopSignal
from modelry.runtime_api.work import Json, WorkClient, WorkLimits, WorkOrder

STOP_GRACE_S = 20.0
"""How long work has to end, and to save a checkpoint, once it was asked to."""


class ProcessWorks:
    """A `Works` of processes on this machine; as many at once as there are threads that call.

    Args:
        sandbox: what is asked of the sandbox that each process is in.
        niceness: how far work stands back behind serving whose limits do not say.
        stop_grace_s: what is left to work that was asked to end before it is killed.
        spare_s: how long a process waits for the next order of recurring work.
    """

    def __init__(
        self,
        sandbox: SandboxPolicy = DEFAULT_POLICY,
        *,
        niceness: int = 0,
        stop_grace_s: float = STOP_GRACE_S,
        spare_s: float = SPARE_S,
    ) -> None:
        self._sandbox = sandbox
        self._niceness = niceness
        self._stop_grace_s = stop_grace_s
        self._groups = WorkerGroups()
        self._spares = Spares(self._started, spare_s)

    def run(self, order: WorkOrder, client: WorkClient, stop: StopSignal) -> Json:
        """See `runtime_api.work.Works.run`."""
        if stop.is_set():
            raise Cancelled("The work was stopped before it began.")
        limits = order.limits
        if limits.niceness is None:
            limits = dataclasses.replace(limits, niceness=self._niceness)
        asked = Asked(order.request, client, stop, self._stop_grace_s)
        if not order.is_recurring:
            return self._done(order.work, limits, asked)
        try:
            found = self._spares.do(order.work, limits, asked)
            return self._done(order.work, limits, asked) if found is None else found
        finally:
            if not stop.is_set():
                self._spares.prepare(order.work, limits)

    def close(self) -> None:
        """End the processes that wait for an order; those that do one end with their jobs."""
        self._spares.close()

    def _done(self, work: str, limits: WorkLimits, asked: Asked) -> Json:
        with self._started(work, limits) as process:
            return asked.of(process)

    def _started(self, work: str, limits: WorkLimits) -> WorkProcess:
        return WorkProcess(self._sandbox, self._groups, work, limits)
