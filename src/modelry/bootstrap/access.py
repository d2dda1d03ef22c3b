"""Makes changes of who may call take effect: on this server at once, on others soon."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence

from modelry.domain.sharing import DeploymentGrant
from modelry.services.deployments.service import DeploymentsService
from modelry.services.explanation.direct import DirectExplanations
from modelry.services.inference.service import InferenceService
from modelry.services.tenancy.service import TenancyService
from modelry.services.tenancy.sharing import SharingService

log = logging.getLogger(__name__)

FOLLOW_S = 2.0
"""How late a change by another server on the same database, or the end of a grant, is seen."""
READ_ANEW_S = 30.0
"""How late a change is seen whose server was killed before it could leave word of it."""
ACT_S = 1.0
"""How long a change waits for a busy event loop to act on it before it is answered."""
NOTE_USE_S = 30.0
"""How late the time when a key was used last is kept, and how exact it is."""


class AccessFollower:
    """Follows tenants, keys and grants as the database has them.

    Args:
        tenancy: keys and tenants; tells of changes made through this server.
        sharing: what is shared.
        inference: whose callers and routes follow.
        deployments: whose replicas follow.
        explanations: whose callers follow, if there are any.
    """

    def __init__(
        self,
        tenancy: TenancyService,
        sharing: SharingService,
        inference: InferenceService,
        deployments: DeploymentsService,
        explanations: DirectExplanations | None = None,
    ) -> None:
        self._tenancy = tenancy
        self._sharing = sharing
        self._inference = inference
        self._deployments = deployments
        self._explanations = explanations
        self._changed = asyncio.Event()
        self._reading = threading.Lock()
        self._stamp: str | None = None
        self._read_at = -READ_ANEW_S
        self._loop_thread = 0
        self._is_stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        tenancy.on_change(self._on_change)

    async def start(self) -> None:
        """Follow for the first time, and go on; to be called before deployments start."""
        self._loop, self._loop_thread = asyncio.get_running_loop(), threading.get_ident()
        await self.follow()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End when what is under way is done, and keep which keys were used last."""
        self._loop, self._is_stopping = None, True
        self._changed.set()
        if self._task is not None:
            await self._task
        await asyncio.to_thread(self.note_used)

    async def follow(self) -> None:
        """Read everything again and act on it."""
        await asyncio.to_thread(self._read)
        await self._deployments.follow_tenants(self._inference.authenticator.tenants)

    def _read(self, *, anew: bool = False) -> None:
        """Read who may call, and have the event loop act on it; blocks.

        What is read first is acted on first: an older answer never replaces a newer one. Keys are
        read when something has changed, or `anew`: there may be thousands.
        """
        with self._reading:
            stamp, now = self._tenancy.stamp(), time.monotonic()
            if anew or stamp != self._stamp or now - self._read_at > READ_ANEW_S:
                self._inference.authenticator.refresh()
                self._stamp, self._read_at = stamp, now
            else:
                self._inference.authenticator.look_again()
            grants = self._sharing.holding()
            loop = self._loop
            if loop is not None:
                loop.call_soon_threadsafe(self._act, grants)

    def _act(self, grants: Sequence[DeploymentGrant]) -> None:
        self._inference.routes.share(grants)
        tenants = self._inference.authenticator.tenants
        self._inference.cut_off_strangers(tenants)
        if self._explanations is not None:
            self._explanations.cut_off_strangers(tenants)

    def note_used(self) -> None:
        """Keep which keys were used since the last time; blocks."""
        self._tenancy.note_used(self._inference.authenticator.take_used())

    def _on_change(self) -> None:
        """Runs in the thread that made the change, which returns when callers have changed."""
        self._read(anew=True)
        loop = self._loop
        if loop is None:
            return
        loop.call_soon_threadsafe(self._changed.set)
        if threading.get_ident() != self._loop_thread:
            acted = threading.Event()
            loop.call_soon_threadsafe(acted.set)
            acted.wait(ACT_S)

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(FOLLOW_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            if self._is_stopping:
                return
            self._changed.clear()
            try:
                await self.follow()
            except Exception:  # it must go on whatever happened once
                log.exception("who may call could not be read again; it is tried again")
