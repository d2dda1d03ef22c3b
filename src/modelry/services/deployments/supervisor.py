"""Keeps one replica alive: start, watch, restart with back-off, give up with the reason."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from modelry.domain.deployments import REPLICA_TRANSITIONS, ReplicaState, ReplicaStatus
from modelry.domain.errors import DataDamaged, ModelryError
from modelry.domain.sandbox import SandboxReport
from modelry.services.deployments.ports import (
    OpenFile,
    Replica,
    ReplicaEnd,
    ReplicaPool,
    ReplicaSpec,
)

log = logging.getLogger(__name__)

MAX_FAILURES = 5
"""Failures in a row after which a replica is given up."""
BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Pause before each restart."""
STABLE_S = 60.0
"""Time in READY after which earlier failures are forgotten."""


class ReplicaSupervisor:
    """One replica slot of a version, over as many worker processes as it takes.

    Args:
        pool: starts processes.
        spec: what each of them shall load.
        on_failed: called once when the slot is given up, with the reason.
    """

    def __init__(
        self, pool: ReplicaPool, spec: ReplicaSpec, on_failed: Callable[[str], None]
    ) -> None:
        self.spec = spec
        self.state = ReplicaState.STARTING
        self.reason: str | None = None
        self.restarts = 0
        self.replica: Replica | None = None
        self._pool = pool
        self._on_failed = on_failed
        self._since = datetime.now(UTC)
        self._stopping = False
        self._verdict: str | None = None
        self._logs: list[str] = []
        self._task = asyncio.create_task(self._run())

    def _move(self, state: ReplicaState) -> None:
        if state not in REPLICA_TRANSITIONS[self.state]:
            raise AssertionError(f"a replica went from {self.state} to {state}")
        self.state = state
        self._since = datetime.now(UTC)
        tenant_id, deployment, version, _ = self.spec.group.identity
        log.info(
            "replica %s of %s/%s@%d is %s%s",
            self.spec.replica_id, tenant_id, deployment, version, state,
            f": {self.reason}" if self.reason else "",
        )  # fmt: skip

    async def _run(self) -> None:
        failures = 0
        while True:
            ready_since = time.monotonic()
            end = await self._live_once()
            if self._stopping:
                self._move(ReplicaState.STOPPED)
                return
            if time.monotonic() - ready_since > STABLE_S:
                failures = 0
            failures += 1
            self.reason = self._verdict or end.reason
            if self._verdict or end.permanent or failures > MAX_FAILURES:
                self._move(ReplicaState.FAILED)
                self._on_failed(self.reason)
                return
            self._move(ReplicaState.BACKING_OFF)
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S)) - 1])
            self.restarts += 1
            self._move(ReplicaState.STARTING)

    async def _live_once(self) -> ReplicaEnd:
        """One process from start to end."""
        try:
            files = await self._open_files()
        except DataDamaged as error:
            return ReplicaEnd(error.message, permanent=True)
        except (OSError, ModelryError) as error:
            log.warning("replica %s has no files", self.spec.replica_id, exc_info=True)
            return ReplicaEnd(f"its files cannot be opened ({error})")
        try:
            return await self._live_with(files)
        finally:
            for file in files.values():
                file.close()

    async def _open_files(self) -> Mapping[str, OpenFile]:
        """The files, decrypted in a thread; nothing stays open if this is cancelled meanwhile."""
        opening = asyncio.ensure_future(asyncio.to_thread(self.spec.open_files))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            raise

    async def _live_with(self, files: Mapping[str, OpenFile]) -> ReplicaEnd:
        try:
            replica = await self._pool.start(self.spec, files)
        except (OSError, ModelryError) as error:
            log.warning("replica %s could not be started", self.spec.replica_id, exc_info=True)
            return ReplicaEnd(f"the worker process could not be started ({error})")
        self.replica = replica
        if self._verdict is not None:
            replica.kill(self._verdict)
        end = await replica.ready()
        if end is None:
            mapped = replica.ready_info.get("mapped", files)
            for role, file in files.items():
                if role not in mapped:  # it was read; its memory is needed elsewhere
                    file.close()
            self.reason = None
            if not self._stopping:
                self._move(ReplicaState.READY)
                self.spec.group.attach(replica.link)
            end = await replica.ended()
        self._logs = replica.logs()
        self.replica = None
        return end

    def retire(self) -> None:
        """Take no more requests, from now on; `stop` follows."""
        self._stopping = True
        if self.replica is not None:
            self.spec.group.detach(self.replica.link)

    async def stop(self, drain_s: float) -> None:
        """End the replica; open requests get `drain_s` seconds."""
        if self.state in (ReplicaState.STOPPED, ReplicaState.FAILED):
            return
        self.retire()
        replica = self.replica
        if replica is None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._kill_late_starter()
            self._move(ReplicaState.STOPPED)
            return
        if self.state is ReplicaState.READY:
            self._move(ReplicaState.DRAINING)
        await replica.stop(drain_s)
        await asyncio.gather(self._task, return_exceptions=True)

    def _kill_late_starter(self) -> None:
        """A process that came up while its start was being cancelled."""
        if self.replica is not None:
            self.replica.kill("stopped")

    def kill(self, reason: str) -> None:
        """End the process now; it is restarted with back-off."""
        if self.replica is not None:
            self.replica.kill(reason)

    def give_up(self, reason: str) -> None:
        """End the process now, for good: the slot fails, with `reason`."""
        self._verdict = reason
        self.kill(reason)

    def logs(self) -> list[str]:
        """The last stderr lines of the running process, else of the last one."""
        return self.replica.logs() if self.replica is not None else self._logs

    def status(self) -> ReplicaStatus:
        """What is known of the replica now."""
        tenant_id, deployment, version, _ = self.spec.group.identity
        replica = self.replica
        return ReplicaStatus(
            replica_id=self.spec.replica_id,
            tenant_id=tenant_id,
            deployment=deployment,
            version_number=version,
            state=self.state,
            pid=replica.pid if replica else None,
            restarts=self.restarts,
            reason=self.reason,
            memory_bytes=replica.memory_bytes() if replica else None,
            in_flight=replica.link.in_flight if replica else 0,
            since=self._since,
            sandbox=_sandbox_of(replica),
        )


def _sandbox_of(replica: Replica | None) -> SandboxReport | None:
    told = replica.ready_info.get("sandbox") if replica else None
    return SandboxReport.from_wire(told) if told else None


def _close_opened(opening: asyncio.Future[Mapping[str, OpenFile]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        for file in opening.result().values():
            file.close()
