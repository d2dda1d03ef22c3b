"""What a caller may hand on: nothing that it does not have itself."""

from __future__ import annotations

from datetime import datetime

from modelry.domain.access import (
    ApiKey,
    Permission,
    Principal,
    Role,
    effective_permissions,
)
from modelry.domain.errors import PermissionDenied
from modelry.services.tenancy.ports import KeyRecords


def check_role_within(
    principal: Principal, role: Role, verb: str, scopes: frozenset[Permission] | None = None
) -> None:
    """Refuse a role, within `scopes`, that has rights which the caller lacks.

    Args:
        principal: who hands it on.
        role: what somebody in the caller's tenant shall be, or is.
        verb: what the caller does, for the message: `create a key of`.
        scopes: the only rights of the role that are handed on; None for all.

    Raises:
        PermissionDenied: tells which rights are lacking.
    """
    wanted = effective_permissions(principal.tenant_id, role, scopes)
    lacking = wanted - principal.permissions
    if lacking or (role is Role.OWNER and principal.role is not Role.OWNER):
        named = ", ".join(sorted(lacking)) or "those of an owner"
        raise PermissionDenied(
            f"A caller of role '{principal.role}' cannot {verb} role '{role}': it has rights that "
            f"the caller lacks ({named})."
        )


def check_deployments_within(principal: Principal, deployments: frozenset[str]) -> None:
    """Refuse a key that may call more deployments than the caller's (none means all).

    Raises:
        PermissionDenied: names those that it may be limited to.
    """
    if principal.deployments and not (deployments and deployments <= principal.deployments):
        raise PermissionDenied(
            "This key may call some deployments only, so it deals only with keys that are limited "
            f"to some of: {', '.join(sorted(principal.deployments))}."
        )


def check_scopes_within(own: ApiKey | None, scopes: frozenset[Permission] | None) -> None:
    """Refuse a key without scopes, or with others, made by one that has some.

    What a role may do can grow with an upgrade: a key without scopes would then have more.

    Raises:
        PermissionDenied: names the scopes that it may have.
    """
    if own is None or own.scopes is None:
        return
    if scopes is None or not scopes <= own.scopes:
        raise PermissionDenied(
            "This key has scopes, so it deals only with keys that have some of them: "
            f"{', '.join(sorted(own.scopes)) or 'none'}. Give 'scopes'."
        )


def check_expiry_within(own: ApiKey | None, expires_at: datetime | None) -> None:
    """Refuse a key that lives longer than the caller's own.

    Raises:
        PermissionDenied: tells when the caller's ends.
    """
    if (
        own is not None
        and own.expires_at is not None
        and (expires_at is None or expires_at > own.expires_at)
    ):
        raise PermissionDenied(
            f"This key expires at {own.expires_at.isoformat()}; the keys it deals with must expire "
            "by then. Give 'expires_at'."
        )


def check_key_within(principal: Principal, own: ApiKey | None, key: ApiKey, verb: str) -> None:
    """Refuse a key that may do more, call more, or live longer than the caller.

    Args:
        principal: who asks.
        own: the caller's own key; None for a person.
        key: the key that is made, or whose secret is told.
        verb: as in `check_role_within`.

    Raises:
        PermissionDenied: tells what it may be at most.
    """
    check_role_within(principal, key.role, verb, key.scopes)
    check_scopes_within(own, key.scopes)
    check_deployments_within(principal, key.deployments)
    check_expiry_within(own, key.expires_at)


def check_is_whole(principal: Principal, own: ApiKey | None, what: str) -> None:
    """Refuse a caller with scopes, an end or only some deployments: `what` would outlast it.

    Raises:
        PermissionDenied: tells what it is limited by.
    """
    limits = {
        "to some deployments": bool(principal.deployments),
        "by scopes": own is not None and own.scopes is not None,
        "by the time it expires": own is not None and own.expires_at is not None,
    }
    limited = [how for how, is_so in limits.items() if is_so]
    if limited:
        raise PermissionDenied(
            f"This key is limited {' and '.join(limited)}; {what} would not be. Use a key without "
            "such limits."
        )


def check_has_no_limits(records: KeyRecords, principal: Principal, what: str) -> None:
    """Refuse a caller that has limits of its own: `what` would use beside them.

    Copies of the limits would not do: ten keys with a limit each use ten times as much.

    Raises:
        PermissionDenied: it has.
    """
    if records.has_limits(principal.key_id):
        raise PermissionDenied(
            f"This key has limits of its own, which {what} would not count on. Use a key without "
            "limits."
        )
