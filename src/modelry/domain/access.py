"""Who may do what: tenants, principals, roles and permissions.

The effective right of a caller is computed here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from modelry.domain.errors import PermissionDenied

DEFAULT_TENANT_ID = "default"
"""The tenant that a fresh installation starts with."""


class Permission(StrEnum):
    """A right that a route can demand."""

    PUBLIC = "public"
    """No key needed (health probes only)."""
    INFERENCE = "inference:call"
    MODELS_READ = "models:read"
    MODELS_WRITE = "models:write"
    DEPLOYMENTS_READ = "deployments:read"
    DEPLOYMENTS_WRITE = "deployments:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    METRICS_READ = "metrics:read"
    SELF_READ = "self:read"
    """What the caller's own key is and may do; every role has it."""


class Role(StrEnum):
    """A named set of permissions in one tenant."""

    OWNER = "owner"
    ADMIN = "admin"
    DEVELOPER = "developer"
    OPERATOR = "operator"
    VIEWER = "viewer"
    AUDITOR = "auditor"
    INFERENCE = "inference"


_READ = {Permission.MODELS_READ, Permission.DEPLOYMENTS_READ, Permission.SELF_READ}
_ALL = frozenset(set(Permission) - {Permission.PUBLIC})

ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.OWNER: _ALL,
    Role.ADMIN: _ALL,
    Role.DEVELOPER: frozenset(
        {
            Permission.INFERENCE,
            Permission.MODELS_WRITE,
            Permission.DEPLOYMENTS_WRITE,
            Permission.METRICS_READ,
            *_READ,
        }
    ),
    Role.OPERATOR: frozenset(
        {Permission.INFERENCE, Permission.DEPLOYMENTS_WRITE, Permission.METRICS_READ, *_READ}
    ),
    Role.VIEWER: frozenset({Permission.METRICS_READ, *_READ}),
    Role.AUDITOR: frozenset({Permission.KEYS_READ, Permission.METRICS_READ, *_READ}),
    Role.INFERENCE: frozenset({Permission.INFERENCE, Permission.SELF_READ}),
}
"""The one table of rights."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """The owner of everything."""

    tenant_id: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: one API key in one tenant, with what it may do.

    `deployments` names the only deployments it may call, see and change; empty means all of the
    tenant's.
    """

    tenant_id: str
    key_id: str
    role: Role
    permissions: frozenset[Permission]
    deployments: frozenset[str] = field(default_factory=frozenset)

    def require(self, permission: Permission) -> None:
        """Refuse when the caller lacks `permission`.

        Raises:
            PermissionDenied: it is not among the caller's rights.
        """
        if permission not in self.permissions:
            raise PermissionDenied(
                f"This key (role '{self.role}') lacks the permission '{permission}'. "
                "Use a key of a role that has it, or ask an owner to create one."
            )

    def covers(self, deployment: str) -> bool:
        """Whether `deployment` is among those that this caller has to do with."""
        return not self.deployments or deployment in self.deployments

    def may_call(self, deployment: str) -> bool:
        """Whether this caller may send predictions to `deployment`."""
        return Permission.INFERENCE in self.permissions and self.covers(deployment)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as it is kept: never the secret itself, only its keyed hash.

    `secret_hmac` is HMAC-SHA256 of the whole token under the server's pepper.
    """

    tenant_id: str
    key_id: str
    name: str
    role: Role
    secret_hmac: bytes
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    deployments: frozenset[str] = field(default_factory=frozenset)

    def is_valid_at(self, now: datetime) -> bool:
        """Whether the key may be used at `now` (neither revoked nor expired)."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def principal(self) -> Principal:
        """The caller that this key stands for."""
        return Principal(
            self.tenant_id, self.key_id, self.role, ROLE_PERMISSIONS[self.role], self.deployments
        )
