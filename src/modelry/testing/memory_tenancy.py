"""The stores of tenancy in memory: tenants, keys, members, grants and deletions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from modelry.domain.access import ApiKey, Member, Tenant
from modelry.domain.access import TenantState as Life
from modelry.domain.errors import NotFound
from modelry.domain.quotas import UNLIMITED
from modelry.domain.sharing import DeploymentGrant
from modelry.domain.tenants import DeletionStage, TenantDeletion
from modelry.services.tenancy.ports import KeyRecords
from modelry.testing.memory_state import BrokenReference, TenantState

if TYPE_CHECKING:
    from modelry.testing.memory_database import MemoryDatabase

T = TypeVar("T")


class MemoryKeyStore:
    """A `KeyStore`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def read(self, tenant_id: str, work: Callable[[KeyRecords], T]) -> T:
        """See `KeyStore.read`."""
        state = self._database.states().get(tenant_id, TenantState())
        return work(_Keys(state, retired=tenant_id in self._database.deletions.kept))

    def write(self, tenant_id: str, work: Callable[[KeyRecords], T]) -> T:
        """See `KeyStore.write`."""
        is_retired = tenant_id in self._database.deletions.kept
        return self._database.transact(
            tenant_id, lambda state: work(_Keys(state, retired=is_retired))
        )

    def all_keys(self) -> list[ApiKey]:
        """See `KeyStore.all_keys`."""
        return [key for state in self._database.states().values() for key in state.keys.values()]

    def all_tenants(self) -> list[Tenant]:
        """See `KeyStore.all_tenants`."""
        states = self._database.states().values()
        return [state.tenant for state in states if state.tenant is not None]

    def find_subject(self, issuer: str, subject: str) -> list[Member]:
        """See `KeyStore.find_subject`."""
        states = self._database.states().values()
        members = [one for state in states for one in state.members.values()]
        found = [one for one in members if (one.issuer, one.subject) == (issuer, subject)]
        return sorted(found, key=lambda one: (one.created_at, one.tenant_id, one.member_id))

    def grants_to(self, grantee_id: str) -> list[DeploymentGrant]:
        """See `KeyStore.grants_to`."""
        states = self._database.states().values()
        grants = [one for state in states for one in _Grants(state).all()]
        return [one for one in grants if one.grantee_id == grantee_id]

    def all_grants(self) -> list[DeploymentGrant]:
        """See `KeyStore.all_grants`."""
        states = self._database.states().values()
        grants = [one for state in states for one in _Grants(state).all()]
        return [one for one in grants if one.revoked_at is None]

    def find_hmac(self, secret_hmac: bytes) -> ApiKey | None:
        """See `KeyStore.find_hmac`."""
        return next(
            (key for key in self.all_keys() if secret_hmac in (key.secret_hmac, key.previous_hmac)),
            None,
        )

    def setting(self, name: str) -> str | None:
        """See `KeyStore.setting`."""
        return self._database.settings.get(name)

    def put_setting(self, name: str, value: str) -> None:
        """See `KeyStore.put_setting`."""
        self._database.settings[name] = value


class _Keys:
    def __init__(self, state: TenantState, *, retired: bool = False) -> None:
        self._is_retired = retired
        self._state = state
        self.members = _Members(state)
        self.grants = _Grants(state)

    def tenant(self) -> Tenant | None:
        return self._state.tenant

    def add_tenant(self, tenant: Tenant) -> None:
        self._state.tenant = tenant

    def put_tenant(self, tenant: Tenant) -> None:
        self._state.tenant = tenant

    def find(self, key_id: str) -> ApiKey | None:
        return self._state.keys.get(key_id)

    def all(self) -> list[ApiKey]:
        return sorted(self._state.keys.values(), key=lambda one: (one.created_at, one.key_id))

    def put(self, key: ApiKey) -> None:
        self._state.keys[key.key_id] = key

    def note_used(self, key_ids: Collection[str], now: datetime) -> None:
        for key_id in set(key_ids) & self._state.keys.keys():
            self._state.keys[key_id] = replace(self._state.keys[key_id], last_used_at=now)

    def has_limits(self, key_id: str) -> bool:
        found = self._state.quotas.get(key_id)
        return found is not None and found.limits != UNLIMITED

    def is_retired(self) -> bool:
        return self._is_retired


class _Grants:
    def __init__(self, state: TenantState) -> None:
        self._state = state

    def has_deployment(self, name: str) -> bool:
        return name in self._state.deployments

    def find(self, grant_id: str) -> DeploymentGrant | None:
        return self._state.grants.get(grant_id)

    def all(self) -> list[DeploymentGrant]:
        return sorted(self._state.grants.values(), key=lambda one: (one.created_at, one.grant_id))

    def put(self, grant: DeploymentGrant) -> None:
        if grant.deployment not in self._state.deployments:
            raise BrokenReference(f"grant {grant.grant_id} refers to what is not there")
        self._state.grants[grant.grant_id] = grant


class MemoryDeletionStore:
    """A `DeletionStore`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self.kept: dict[str, TenantDeletion] = {}

    def begin(self, deletion: TenantDeletion) -> TenantDeletion:
        """See `DeletionStore.begin`."""

        def work(state: TenantState) -> TenantDeletion:
            if state.tenant is None:
                raise NotFound("There is no such tenant.")
            state.tenant = replace(
                state.tenant, state=Life.DELETING, changed_at=deletion.requested_at
            )
            self.kept[deletion.tenant_id] = deletion
            return deletion

        found = self.kept.get(deletion.tenant_id)
        return found or self._database.transact(deletion.tenant_id, work)

    def find(self, tenant_id: str) -> TenantDeletion | None:
        """See `DeletionStore.find`."""
        return self.kept.get(tenant_id)

    def pending(self) -> list[TenantDeletion]:
        """See `DeletionStore.pending`."""
        open_ones = [one for one in self.kept.values() if one.stage is not DeletionStage.DONE]
        return sorted(open_ones, key=lambda one: (one.requested_at, one.tenant_id))

    def move(
        self,
        deletion: TenantDeletion,
        stage: DeletionStage,
        at: datetime,
        destroyed: Mapping[str, Any],
    ) -> TenantDeletion | None:
        """See `DeletionStore.move`."""
        found = self.kept[deletion.tenant_id]
        if (found.stage, found.stage_at) != (deletion.stage, deletion.stage_at):
            return None
        moved = replace(found, stage=stage, stage_at=at, destroyed={**found.destroyed, **destroyed})
        self.kept[deletion.tenant_id] = moved
        return moved

    def delete_rows(self, tenant_id: str) -> None:
        """See `DeletionStore.delete_rows`."""
        deletion = self.kept[tenant_id]
        gone = self._database.forget(tenant_id)
        rows = {
            _TABLES.get(name, name): len(value)
            for name, value in vars(gone).items()
            if isinstance(value, dict | list) and value
        }
        if gone.tenant is not None:
            rows["tenants"] = 1
        counted = Counter(deletion.destroyed.get("rows", {})) + Counter(rows)
        self.kept[tenant_id] = replace(
            deletion, destroyed={**deletion.destroyed, "rows": dict(counted)}
        )


_TABLES = {"keys": "api_keys"}


class _Members:
    def __init__(self, state: TenantState) -> None:
        self._state = state

    def find(self, member_id: str) -> Member | None:
        return self._state.members.get(member_id)

    def all(self) -> list[Member]:
        found = self._state.members.values()
        return sorted(found, key=lambda one: (one.created_at, one.member_id))

    def put(self, member: Member) -> None:
        others = [one for one in self._state.members.values() if one.member_id != member.member_id]
        if member.has_signed_in and any(
            (one.issuer, one.subject) == (member.issuer, member.subject) for one in others
        ):
            raise BrokenReference("two members are the same person")
        self._state.members[member.member_id] = member
