"""Who may do what: tenants, principals, roles and permissions.

The effective right of a caller is computed here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from modelry.domain.errors import PermissionDenied

DEFAULT_TENANT_ID = "default"
"""The home tenant: a fresh installation starts with it, and its owners run the platform."""


MEMBER_PREFIX = "user:"
"""Begins `Principal.key_id` of a signed-in person; the member's id follows."""


class Permission(StrEnum):
    """A right that a route can demand; `MEANING` says what each is."""

    PUBLIC = "public"
    INFERENCE = "inference:call"
    MODELS_READ = "models:read"
    MODELS_WRITE = "models:write"
    DEPLOYMENTS_READ = "deployments:read"
    DEPLOYMENTS_WRITE = "deployments:write"
    DATASETS_READ = "datasets:read"
    DATASETS_WRITE = "datasets:write"
    ROWS_READ = "rows:read"
    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    METRICS_READ = "metrics:read"
    MEMBERS_READ = "members:read"
    MEMBERS_WRITE = "members:write"
    SHARING_READ = "sharing:read"
    SHARING_WRITE = "sharing:write"
    QUOTAS_READ = "quotas:read"
    QUOTAS_WRITE = "quotas:write"
    REQUEST_LOGS_READ = "request_logs:read"
    REQUEST_LOGS_WRITE = "request_logs:write"
    AUDIT_READ = "audit:read"
    TENANT_READ = "tenant:read"
    TENANT_WRITE = "tenant:write"
    TENANT_EXPORT = "tenant:export"
    PLATFORM_READ = "platform:read"
    PLATFORM_WRITE = "platform:write"
    SELF_READ = "self:read"


MEANING: dict[Permission, str] = {
    Permission.PUBLIC: "nothing: no key is needed",
    Permission.INFERENCE: "call models, own and shared ones",
    Permission.MODELS_READ: "see models, versions and aliases",
    Permission.MODELS_WRITE: "upload, register, pull and delete them, move aliases",
    Permission.DEPLOYMENTS_READ: "see deployments, replicas and their last words",
    Permission.DEPLOYMENTS_WRITE: "deploy, scale, load, restart, undeploy",
    Permission.DATASETS_READ: "see datasets, their schemas, statistics and reports",
    Permission.DATASETS_WRITE: "import, derive and delete them",
    Permission.ROWS_READ: "see the rows of datasets, and those that reports on versions show",
    Permission.JOBS_READ: "see jobs, their progress, curves and logs",
    Permission.JOBS_WRITE: "start, pause, resume and cancel them",
    Permission.KEYS_READ: "see keys, never their secrets",
    Permission.KEYS_WRITE: "make, rotate, rename and revoke keys that may do no more",
    Permission.METRICS_READ: "see metrics and usage",
    Permission.MEMBERS_READ: "see the people of the tenant",
    Permission.MEMBERS_WRITE: "add, change and disable people who may do no more",
    Permission.SHARING_READ: "see what is shared with whom",
    Permission.SHARING_WRITE: "let another tenant call a deployment, take it back",
    Permission.QUOTAS_READ: "see limits and what is left",
    Permission.QUOTAS_WRITE: "set the limits of keys; those of tenants are the platform's",
    Permission.REQUEST_LOGS_READ: "read the bodies of requests, where somebody chose to keep them",
    Permission.REQUEST_LOGS_WRITE: "choose to keep them",
    Permission.AUDIT_READ: "read and verify the audit log",
    Permission.TENANT_READ: "see the own tenant and its settings",
    Permission.TENANT_WRITE: "change its settings, such as how long what is kept",
    Permission.TENANT_EXPORT: "take out everything that belongs to it",
    Permission.PLATFORM_READ: "see all tenants (home tenant only)",
    Permission.PLATFORM_WRITE: "make and delete tenants, set their limits, rotate keys of "
    "encryption (home tenant only)",
    Permission.SELF_READ: "see what the own key is and may do",
}
"""What each right lets its holder do, in words."""


class Role(StrEnum):
    """A named set of permissions in one tenant."""

    OWNER = "owner"
    ADMIN = "admin"
    DEVELOPER = "developer"
    OPERATOR = "operator"
    VIEWER = "viewer"
    AUDITOR = "auditor"
    INFERENCE = "inference"


PLATFORM_PERMISSIONS = frozenset({Permission.PLATFORM_READ, Permission.PLATFORM_WRITE})
"""Rights that nobody has outside the home tenant, whatever their role."""

_SEE = {
    Permission.MODELS_READ,
    Permission.DEPLOYMENTS_READ,
    Permission.DATASETS_READ,
    Permission.JOBS_READ,
    Permission.METRICS_READ,
    Permission.TENANT_READ,
    Permission.SELF_READ,
}
_ALL = frozenset(set(Permission) - {Permission.PUBLIC})

ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.OWNER: _ALL,
    Role.ADMIN: _ALL - {Permission.TENANT_EXPORT, Permission.PLATFORM_WRITE},
    Role.DEVELOPER: frozenset(
        {
            Permission.INFERENCE,
            Permission.MODELS_WRITE,
            Permission.DEPLOYMENTS_WRITE,
            Permission.DATASETS_WRITE,
            Permission.ROWS_READ,
            Permission.JOBS_WRITE,
            Permission.SHARING_READ,
            Permission.QUOTAS_READ,
            *_SEE,
        }
    ),
    Role.OPERATOR: frozenset(
        {
            Permission.INFERENCE,
            Permission.DEPLOYMENTS_WRITE,
            Permission.JOBS_WRITE,
            Permission.SHARING_READ,
            Permission.QUOTAS_READ,
            *_SEE,
        }
    ),
    Role.VIEWER: frozenset(_SEE),
    Role.AUDITOR: frozenset(
        {
            Permission.KEYS_READ,
            Permission.MEMBERS_READ,
            Permission.SHARING_READ,
            Permission.QUOTAS_READ,
            Permission.AUDIT_READ,
            Permission.PLATFORM_READ,
            *_SEE,
        }
    ),
    Role.INFERENCE: frozenset({Permission.INFERENCE, Permission.SELF_READ}),
}
"""The one table of rights, before `effective_permissions` narrows it."""


def effective_permissions(
    tenant_id: str, role: Role, scopes: frozenset[Permission] | None = None
) -> frozenset[Permission]:
    """What a caller may do: its role's rights, within its scopes, within its tenant's reach.

    Args:
        tenant_id: the caller's tenant; only the home tenant reaches the platform.
        role: its role there.
        scopes: the only rights that its key was made for; None for all of the role's.
    """
    rights = ROLE_PERMISSIONS[role]
    if tenant_id != DEFAULT_TENANT_ID:
        rights = rights - PLATFORM_PERMISSIONS
    return rights if scopes is None else rights & scopes


class TenantState(StrEnum):
    """Where a tenant is in its life; only the keys of an active one are admitted."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETING = "deleting"
    """It is being deleted, for good; nothing leads back."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """The owner of everything; `changed_at` is when it got its state, None for its first."""

    tenant_id: str
    name: str
    created_at: datetime
    state: TenantState = TenantState.ACTIVE
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: one API key or member of one tenant, with what it may do.

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

    `secret_hmac` is HMAC-SHA256 of the whole token under the server's pepper. `scopes` are the
    only rights of its role that it has; None for all of them. After a rotation the secret before
    (`previous_hmac`) is valid until `previous_until`. `last_used_at` lags.
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
    scopes: frozenset[Permission] | None = None
    last_used_at: datetime | None = None
    previous_hmac: bytes | None = None
    previous_until: datetime | None = None

    def is_valid_at(self, now: datetime) -> bool:
        """Whether the key may be used at `now` (neither revoked nor expired)."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def before_rotation(self, now: datetime) -> ApiKey | None:
        """The key as its secret before still stands for it at `now`; None once that has ended."""
        if self.previous_hmac is None or self.previous_until is None or now >= self.previous_until:
            return None
        ends = [one for one in (self.previous_until, self.expires_at) if one is not None]
        return replace(self, secret_hmac=self.previous_hmac, expires_at=min(ends))

    def principal(self) -> Principal:
        """The caller that this key stands for."""
        return Principal(
            self.tenant_id,
            self.key_id,
            self.role,
            effective_permissions(self.tenant_id, self.role, self.scopes),
            self.deployments,
        )


@dataclass(frozen=True, slots=True)
class Member:
    """A person with a role in a tenant.

    `issuer` and `subject` say who the person is to whoever signs it in; both are None until the
    first sign-in of somebody who was invited by e-mail.
    """

    tenant_id: str
    member_id: str
    role: Role
    created_at: datetime
    created_by: str
    email: str | None = None
    name: str = ""
    issuer: str | None = None
    subject: str | None = None
    disabled_at: datetime | None = None

    @property
    def has_signed_in(self) -> bool:
        """Whether it is known who the person is."""
        return self.subject is not None

    def principal(self) -> Principal:
        """The caller that this person is, once signed in."""
        return Principal(
            self.tenant_id,
            MEMBER_PREFIX + self.member_id,
            self.role,
            effective_permissions(self.tenant_id, self.role),
        )
