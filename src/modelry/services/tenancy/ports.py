"""What tenancy needs from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from modelry.domain.access import ApiKey, Member, Tenant

T = TypeVar("T")


class MemberRecords(Protocol):
    """A tenant's members, within one transaction."""

    def find(self, member_id: str) -> Member | None:
        """One member, disabled or not."""
        ...

    def all(self) -> list[Member]:
        """All members, oldest first, also disabled ones."""
        ...

    def put(self, member: Member) -> None:
        """Insert or replace."""
        ...


class KeyRecords(Protocol):
    """A tenant, its API keys and its members, within one transaction."""

    @property
    def members(self) -> MemberRecords:
        """The tenant's members."""
        ...

    def tenant(self) -> Tenant | None:
        """The tenant itself."""
        ...

    def add_tenant(self, tenant: Tenant) -> None:
        """Make the tenant."""
        ...

    def put_tenant(self, tenant: Tenant) -> None:
        """Change the tenant's name or state."""
        ...

    def find(self, key_id: str) -> ApiKey | None:
        """One key, whether valid or not."""
        ...

    def all(self) -> list[ApiKey]:
        """All keys, oldest first."""
        ...

    def put(self, key: ApiKey) -> None:
        """Insert or replace."""
        ...


class KeyStore(Protocol):
    """Keeps tenants, keys and members; each call is one serializable transaction.

    Work may be run again when transactions collide: it must have no effect but on its records.
    """

    def read(self, tenant_id: str, work: Callable[[KeyRecords], T]) -> T:
        """The result of `work` on a consistent view."""
        ...

    def write(self, tenant_id: str, work: Callable[[KeyRecords], T]) -> T:
        """The result of `work`; its changes are kept if it returns, undone if it raises."""
        ...

    def all_keys(self) -> list[ApiKey]:
        """The keys of all tenants; for the server's own check of callers."""
        ...

    def all_tenants(self) -> list[Tenant]:
        """All tenants, by id."""
        ...

    def find_subject(self, issuer: str, subject: str) -> list[Member]:
        """The members of all tenants that are this person, oldest first."""
        ...

    def find_hmac(self, secret_hmac: bytes) -> ApiKey | None:
        """The key with this keyed hash, now or before its rotation, of whatever tenant."""
        ...

    def setting(self, name: str) -> str | None:
        """A fact about the whole server."""
        ...

    def put_setting(self, name: str, value: str) -> None:
        """Keep a fact about the whole server."""
        ...
