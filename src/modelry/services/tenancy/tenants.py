"""Use cases of the platform on tenants: make, look, rename, suspend, resume, ask to delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from modelry.domain.access import (
    DEFAULT_TENANT_ID,
    Permission,
    Principal,
    Tenant,
    TenantState,
)
from modelry.domain.errors import Conflict, InvalidInput, NotFound
from modelry.domain.tenants import DeletionStage, TenantDeletion, check_tenant_id
from modelry.services.tenancy.clock import utc_now
from modelry.services.tenancy.ports import DeletionStore, KeyRecords, KeyStore
from modelry.services.tenancy.rights import check_has_no_limits
from modelry.services.tenancy.service import MintedKey, TenancyService
from modelry.services.tenancy.tokens import make_key_id

MAX_NAME_CHARS = 200


class TenantsService:
    """Makes and changes tenants, for callers with the platform's rights.

    Args:
        store: keeps tenants.
        deletions: keeps how far tenants are deleted.
        keys: makes their first owner's key, and is told of changes.
        clock: gives the time.
    """

    def __init__(
        self,
        store: KeyStore,
        deletions: DeletionStore,
        keys: TenancyService,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._deletions = deletions
        self._keys = keys
        self._clock = clock

    def own(self, principal: Principal) -> Tenant:
        """The caller's own tenant."""
        principal.require(Permission.TENANT_READ)
        return self._find(principal.tenant_id)

    def list_tenants(self, principal: Principal) -> list[Tenant]:
        """All tenants, by id."""
        principal.require(Permission.PLATFORM_READ)
        return self._store.all_tenants()

    def get(self, principal: Principal, tenant_id: str) -> Tenant:
        """One tenant.

        Raises:
            NotFound: there is none of this id (any more).
        """
        principal.require(Permission.PLATFORM_READ)
        return self._find(tenant_id)

    def create(self, principal: Principal, tenant_id: str, name: str) -> tuple[Tenant, MintedKey]:
        """Make a tenant and its first owner's key.

        Raises:
            InvalidInput: the id or name is not allowed.
            PermissionDenied: the caller may not, or has limits of its own.
            Conflict: the id is that of a tenant, or was.
        """
        principal.require(Permission.PLATFORM_WRITE)
        self._store.read(
            principal.tenant_id,
            lambda records: check_has_no_limits(records, principal, "another tenant"),
        )
        check_tenant_id(tenant_id)
        _check_name(name)
        tenant = Tenant(tenant_id, name, self._clock())
        minted = self._keys.first_owner_key(tenant_id)

        def work(records: KeyRecords) -> None:
            if records.tenant() is not None:
                raise Conflict(f"Tenant '{tenant_id}' exists already.", param="tenant_id")
            if records.is_retired():
                raise Conflict(
                    f"'{tenant_id}' was the id of a tenant that was deleted; ids are not used "
                    "again. Choose another one.",
                    param="tenant_id",
                )
            records.add_tenant(tenant)
            records.put(minted.key)

        self._store.write(tenant_id, work)
        self._keys.changed()
        return tenant, minted

    def rename(self, principal: Principal, tenant_id: str, name: str) -> Tenant:
        """Give a tenant another name; its id stays.

        Raises:
            NotFound: there is none of this id.
            InvalidInput: the name is not allowed.
        """
        principal.require(Permission.PLATFORM_WRITE)
        _check_name(name)
        return self._change(tenant_id, lambda tenant: replace(tenant, name=name))

    def suspend(self, principal: Principal, tenant_id: str) -> Tenant:
        """Refuse all keys of a tenant, end its streams and replicas; once more changes nothing.

        Raises:
            NotFound: there is none of this id.
            Conflict: it is the home tenant, or is being deleted.
        """
        principal.require(Permission.PLATFORM_WRITE)
        _check_not_home(tenant_id, "suspended")
        return self._change(tenant_id, lambda one: self._moved(one, TenantState.SUSPENDED))

    def resume(self, principal: Principal, tenant_id: str) -> Tenant:
        """Admit the keys of a suspended tenant again, and bring up its replicas.

        Raises:
            NotFound: there is none of this id.
            Conflict: it is being deleted.
        """
        principal.require(Permission.PLATFORM_WRITE)
        return self._change(tenant_id, lambda one: self._moved(one, TenantState.ACTIVE))

    def delete(self, principal: Principal, tenant_id: str, confirmed_name: str) -> TenantDeletion:
        """Begin to delete a tenant with all that it has; there is no way back.

        The rest is done in the background, also after a crash. Asked again, it tells how far
        that is.

        Args:
            principal: who asks.
            tenant_id: which tenant.
            confirmed_name: the tenant's name, to prove that this one is meant.

        Raises:
            NotFound: there is none of this id.
            Conflict: it is the home tenant.
            InvalidInput: `confirmed_name` is not its name.
        """
        principal.require(Permission.PLATFORM_WRITE)
        _check_not_home(tenant_id, "deleted")
        tenant = self._find(tenant_id)
        if confirmed_name != tenant.name:
            raise InvalidInput(
                f"Deleting tenant '{tenant_id}' must be confirmed by its name, which is not "
                f"{confirmed_name[:80]!r}. GET /api/v1/tenants/{tenant_id} tells it.",
                param="confirm",
            )
        now = self._clock()
        wanted = TenantDeletion(
            tenant_id, make_key_id(), now, principal.key_id, DeletionStage.STOPPING, now
        )
        deletion = self._deletions.begin(wanted)
        self._keys.changed()
        return deletion

    def deletion(self, principal: Principal, tenant_id: str) -> TenantDeletion:
        """How far the deletion of a tenant is, or what it destroyed.

        Raises:
            NotFound: no tenant of this id is being deleted or was.
        """
        principal.require(Permission.PLATFORM_READ)
        found = self._deletions.find(tenant_id)
        if found is None:
            raise NotFound(
                f"No tenant '{tenant_id[:80]}' is being deleted or was.", param="tenant_id"
            )
        return found

    def _find(self, tenant_id: str) -> Tenant:
        found = self._store.read(tenant_id, lambda records: records.tenant())
        if found is None:
            raise _no_tenant(tenant_id)
        return found

    def _change(self, tenant_id: str, change: Callable[[Tenant], Tenant]) -> Tenant:
        def work(records: KeyRecords) -> Tenant:
            tenant = records.tenant()
            if tenant is None:
                raise _no_tenant(tenant_id)
            changed = change(tenant)
            if changed != tenant:
                records.put_tenant(changed)
            return changed

        tenant = self._store.write(tenant_id, work)
        self._keys.changed()
        return tenant

    def _moved(self, tenant: Tenant, state: TenantState) -> Tenant:
        if tenant.state is TenantState.DELETING:
            raise Conflict(
                f"Tenant '{tenant.tenant_id}' is being deleted; there is no way back.",
                param="tenant_id",
            )
        if tenant.state is state:
            return tenant
        return replace(tenant, state=state, changed_at=self._clock())


def _no_tenant(tenant_id: str) -> NotFound:
    return NotFound(f"Tenant '{tenant_id[:80]}' does not exist.", param="tenant_id")


def _check_not_home(tenant_id: str, what: str) -> None:
    if tenant_id == DEFAULT_TENANT_ID:
        raise Conflict(
            f"The home tenant cannot be {what}: its owners run this platform.", param="tenant_id"
        )


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable() or name != name.strip():
        raise InvalidInput(
            f"A tenant's name must have 1 to {MAX_NAME_CHARS} printable characters, without "
            "blanks around it.",
            param="name",
        )
