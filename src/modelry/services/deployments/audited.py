"""Loading and unloading by doors other than the management API, entered into the audit log."""

from __future__ import annotations

from modelry.domain.access import Permission, Principal
from modelry.services.audit.acts import entered
from modelry.services.audit.trail import ChainedTrail
from modelry.services.deployments.service import DeploymentsService
from modelry.services.inference.request_ids import current_request_id


class AuditedLoading:
    """Loads and unloads deployments; what is not there is not entered.

    Args:
        deployments: does it.
        trail: takes the entries.
    """

    def __init__(self, deployments: DeploymentsService, trail: ChainedTrail) -> None:
        self._deployments = deployments
        self._trail = trail

    async def load(self, principal: Principal, name: str) -> None:
        """As `DeploymentsService.load`.

        Raises:
            AuditUnavailable: it cannot be entered, so it is not done.
        """
        self._check(principal, name)
        async with entered(self._trail, principal, "deployments.load", *_of(name, "load")):
            await self._deployments.load(principal, name)

    async def unload(self, principal: Principal, name: str) -> None:
        """As `DeploymentsService.unload`.

        Raises:
            AuditUnavailable: it cannot be entered, so it is not done.
        """
        self._check(principal, name)
        async with entered(self._trail, principal, "deployments.unload", *_of(name, "unload")):
            await self._deployments.unload(principal, name)

    def _check(self, principal: Principal, name: str) -> None:
        principal.require(Permission.DEPLOYMENTS_WRITE)
        self._deployments.get(principal, name)


def _of(name: str, act: str) -> tuple[str, dict[str, str]]:
    return f"/deployments/{name}/{act}", {"request_id": current_request_id.get()}
