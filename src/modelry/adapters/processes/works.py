"""Runs each piece of work in a locked-down process of its own: `ProcessWorks`."""

from __future__ import annotations

import dataclasses

from modelry.adapters.processes.memory_groups import WorkerGroups
from modelry.adapters.processes.standing import (
    MOST_WAITING,
    WAIT_S,
    Asked,
    Purpose,
    StandingProcesses,
)
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
        wait_s: how long a process waits for the next order, where it stays for one.
        most_waiting: how many wait at once.
    """

    def __init__(
        self,
        sandbox: SandboxPolicy = DEFAULT_POLICY,
        *,
        niceness: int = 0,
        stop_grace_s: float = STOP_GRACE_S,
        wait_s: float = WAIT_S,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._sandbox = sandbox
        self._niceness = niceness
        self._stop_grace_s = stop_grace_s
        self._groups = WorkerGroups()
        self._standing = StandingProcesses(self._staying, wait_s, most_waiting)

    def run(self, order: WorkOrder, client: WorkClient, stop: StopSignal) -> Json:
        """See `runtime_api.work.Works.run`."""
        if stop.is_set():
            raise Cancelled("The work was stopped before it began.")
        limits = order.limits
        if limits.niceness is None:
            limits = dataclasses.replace(limits, niceness=self._niceness)
        asked = Asked(order.request, client, stop, self._stop_grace_s)
        if order.stays_for:
            return self._standing.do(Purpose(order.work, limits, order.stays_for), asked)
        with self._started(order.work, limits) as process:
            return asked.of(process)

    def close(self) -> None:
        """End the processes that wait for an order; those that do one end with their jobs."""
        self._standing.close()

    def _started(self, work: str, limits: WorkLimits, *, stays: bool = False) -> WorkProcess:
        return WorkProcess(self._sandbox, self._groups, work, limits, stays=stays)

    def _staying(self, work: str, limits: WorkLimits) -> WorkProcess:
        return self._started(work, limits, stays=True)
