"""What tenancy needs from outside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, Protocol, TypeVar

from modelry.domain.access import ApiKey, Member, Tenant
from modelry.domain.sharing import DeploymentGrant
from modelry.domain.tenants import DeletionStage, TenantDeletion

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


class GrantRecords(Protocol):
    """What a tenant shares with others, within one transaction."""

    def has_deployment(self, name: str) -> bool:
        """Whether the tenant has a deployment of this name."""
        ...

    def find(self, grant_id: str) -> DeploymentGrant | None:
        """One grant, whether it holds or not."""
        ...

    def all(self) -> list[DeploymentGrant]:
        """All grants of deployments that are there, oldest first, also revoked ones."""
        ...

    def put(self, grant: DeploymentGrant) -> None:
        """Insert or replace."""
        ...


class KeyRecords(Protocol):
    """A tenant, its API keys, its members and what it shares, within one transaction."""

    @property
    def members(self) -> MemberRecords:
        """The tenant's members."""
        ...

    @property
    def grants(self) -> GrantRecords:
        """What the tenant shares with others."""
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

    def note_used(self, key_ids: Collection[str], now: datetime) -> None:
        """Keep when these keys were used last; those that are not there are left out."""
        ...

    def has_limits(self, key_id: str) -> bool:
        """Whether limits (see `services.quotas`) were set for this key or person alone."""
        ...

    def is_retired(self) -> bool:
        """Whether a tenant of this id is being deleted or was: its id is never used again."""
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

    def grants_to(self, grantee_id: str) -> list[DeploymentGrant]:
        """What others share with a tenant, by owner, oldest first, also revoked grants."""
        ...

    def all_grants(self) -> list[DeploymentGrant]:
        """The grants of all tenants that were not revoked."""
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


class DeletionStore(Protocol):
    """Keeps how far tenants are deleted, and deletes their rows; each call is one transaction
    unless it says otherwise.
    """

    def begin(self, deletion: TenantDeletion) -> TenantDeletion:
        """Keep a deletion and mark its tenant; the one that is there already, if one is.

        Raises:
            NotFound: there is no such tenant.
        """
        ...

    def find(self, tenant_id: str) -> TenantDeletion | None:
        """The deletion of a tenant, done or not."""
        ...

    def pending(self) -> list[TenantDeletion]:
        """Those that are not done, oldest first."""
        ...

    def move(
        self,
        deletion: TenantDeletion,
        stage: DeletionStage,
        at: datetime,
        destroyed: Mapping[str, Any],
    ) -> TenantDeletion | None:
        """Bring a deletion to its next stage, and add to what is known to be destroyed.

        Returns:
            The deletion as it is now; None if another server has moved it meanwhile.
        """
        ...

    def delete_rows(self, tenant_id: str) -> None:
        """Delete every row that belongs to a tenant, children first, and last the tenant.

        A transaction for each table, which adds to `destroyed["rows"]` how many went; what
        others share with the tenant goes too.
        """
        ...


class TenantFiles(Protocol):
    """A tenant's contents in the blob store."""

    def measure(self, tenant_id: str) -> tuple[int, int]:
        """How many contents, whole and partial, there are, and their bytes as they are kept."""
        ...

    def delete_all(self, tenant_id: str) -> None:
        """Delete every content, whole and partial."""
        ...


class KeyDestroyer(Protocol):
    """Destroys encryption keys."""

    def destroy(self, tenant_id: str) -> Mapping[str, Any]:
        """Destroy a tenant's data keys for good; the same again tells the same.

        Returns:
            What is known of the keys (fingerprints, when), as JSON types.
        """
        ...


class ReplicasOf(Protocol):
    """Knows what runs on this server."""

    def has_replicas(self, tenant_id: str) -> bool:
        """Whether a replica of the tenant is there, in whatever state."""
        ...


class CertificateTrail(Protocol):
    """The audit trail, as far as deleting needs it."""

    def append(
        self,
        tenant_id: str,
        *,
        actor: str,
        action: str,
        resource: str,
        outcome: str = "ok",
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep an act; durable when it returns."""
        ...
