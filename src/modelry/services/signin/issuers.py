"""Issuers that people sign in with, and what their groups may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelry.domain.access import ROLE_PERMISSIONS, Role


@dataclass(frozen=True, slots=True)
class TenantRule:
    """What the groups of an issuer are in one tenant."""

    tenant_id: str
    roles: Mapping[str, Role] = field(default_factory=dict)
    """The role of each group; groups that are not here get nothing."""

    def role_of(self, groups: frozenset[str]) -> Role | None:
        """The role with the most rights among those of `groups`; None when there is none."""
        found = [role for group, role in self.roles.items() if group in groups]
        return max(found, key=lambda role: len(ROLE_PERMISSIONS[role]), default=None)


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer that the operator trusts.

    Attributes:
        name: what it is called in URLs.
        url: its identifier, exactly as it stands in its tokens.
        tenants: which tenants its people may come to.
    """

    name: str
    url: str
    tenants: tuple[TenantRule, ...]

    def rule(self, tenant_id: str) -> TenantRule | None:
        """The rule for a tenant."""
        return next((one for one in self.tenants if one.tenant_id == tenant_id), None)
