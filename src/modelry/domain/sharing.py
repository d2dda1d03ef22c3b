"""Deployments that one tenant lets another one call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from modelry.domain.catalog import check_name
from modelry.domain.tenants import check_tenant_id

SHARED_MARK = "@"
"""Stands in no name of a deployment, model or tenant."""


def shared_name(deployment: str, owner_id: str) -> str:
    """What others call a deployment that `owner_id` shares with them."""
    return f"{deployment}{SHARED_MARK}{owner_id}"


def check_callable_name(name: str) -> str:
    """Return `name` unchanged when it may name an own deployment or a shared one.

    Raises:
        InvalidInput: it may not.
    """
    deployment, mark, owner_id = name.partition(SHARED_MARK)
    check_name(deployment, "deployment")
    if mark:
        check_tenant_id(owner_id)
    return name


@dataclass(frozen=True, slots=True)
class DeploymentGrant:
    """Lets `grantee_id` call a deployment of `tenant_id`, until it ends or is revoked."""

    tenant_id: str
    grant_id: str
    deployment: str
    grantee_id: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    note: str = ""

    def is_valid_at(self, now: datetime) -> bool:
        """Whether the grant holds at `now` (neither revoked nor expired)."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    @property
    def shared_name(self) -> str:
        """What the grantee calls the deployment."""
        return shared_name(self.deployment, self.tenant_id)
