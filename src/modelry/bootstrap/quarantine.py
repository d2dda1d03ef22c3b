"""What follows when a content is found damaged, or is mended."""

from __future__ import annotations

import asyncio
import logging

from modelry.domain.errors import ModelryError
from modelry.services.audit.ports import AuditTrail
from modelry.services.catalog.quarantine import Quarantine, QuarantineChange
from modelry.services.deployments.service import DeploymentsService

log = logging.getLogger(__name__)

ACTOR = "server"


class QuarantineFollower:
    """Takes what is damaged out of service, and enters it into the audit log.

    Args:
        quarantine: tells of changes.
        deployments: whose replicas follow.
        trail: the audit log.
    """

    def __init__(
        self, quarantine: Quarantine, deployments: DeploymentsService, trail: AuditTrail
    ) -> None:
        self._deployments = deployments
        self._trail = trail
        self._loop: asyncio.AbstractEventLoop | None = None
        quarantine.on_change(self._on_change)

    def start(self) -> None:
        """Have replicas follow, on this event loop."""
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """Leave replicas alone."""
        self._loop = None

    def _on_change(self, change: QuarantineChange) -> None:
        """Runs in the thread that found it."""
        if self._loop is not None:
            damage = change.reason if change.is_damaged else None
            follow = self._deployments.follow_content(change.tenant_id, change.digest, damage)
            asyncio.run_coroutine_threadsafe(follow, self._loop)
        try:
            self._trail.append(
                change.tenant_id,
                actor=ACTOR,
                action="contents.quarantine" if change.is_damaged else "contents.mend",
                resource=f"/contents/{change.digest}",
                outcome="data_damaged" if change.is_damaged else "ok",
            )
        except ModelryError:  # what is damaged stays quarantined all the same
            log.exception("a change of the quarantine could not be entered into the audit log")
