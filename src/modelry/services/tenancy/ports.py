"""What tenancy needs from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from modelry.domain.access import ApiKey, Tenant

T = TypeVar("T")


class KeyRecords(Protocol):
    """A tenant and its API keys, within one transaction."""

    def tenant(self) -> Tenant | None:
        """The tenant itself."""
        ...

    def add_tenant(self, tenant: Tenant) -> None:
        """Make the tenant."""
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
    """Keeps tenants and keys; each call is one serializable transaction.

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

    def find_hmac(self, secret_hmac: bytes) -> ApiKey | None:
        """The key with this keyed hash, of whatever tenant."""
        ...

    def setting(self, name: str) -> str | None:
        """A fact about the whole server."""
        ...

    def put_setting(self, name: str, value: str) -> None:
        """Keep a fact about the whole server."""
        ...
