"""Every store port in memory: the fakes that services are tested with.

They pass the same suites as the SQL stores. A failed piece of work leaves no trace, as in a
database: work runs on a copy that replaces the state when it returns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from modelry.domain.catalog import Alias, AliasMove, Model, Version
from modelry.domain.deployments import Deployment
from modelry.domain.errors import Conflict
from modelry.services.catalog.ports import BlobRecord, CatalogRecords, UploadRecord
from modelry.testing.memory_datasets import MemoryDatasetStore, shard_digests
from modelry.testing.memory_files import MemoryFileStore
from modelry.testing.memory_jobs import MemoryJobStore
from modelry.testing.memory_lineages import MemoryLineageStore
from modelry.testing.memory_quotas import MemoryQuotaStore
from modelry.testing.memory_state import BrokenReference, TenantState
from modelry.testing.memory_tenancy import MemoryDeletionStore, MemoryKeyStore
from modelry.testing.memory_usage import MemoryPriceStore, MemoryUsageStore

T = TypeVar("T")


class MemoryDatabase:
    """All stores, over one state."""

    def __init__(self) -> None:
        self._tenants: dict[str, TenantState] = {}
        self._lock = threading.RLock()
        self.settings: dict[str, str] = {}
        self.keys = MemoryKeyStore(self)
        self.deletions = MemoryDeletionStore(self)
        self.catalog = MemoryCatalogStore(self)
        self.datasets = MemoryDatasetStore(self)
        self.deployments = MemoryDeploymentStore(self)
        self.files = MemoryFileStore(self)
        self.quotas = MemoryQuotaStore(self)
        self.usage = MemoryUsageStore(self)
        self.prices = MemoryPriceStore()
        self.lineages = MemoryLineageStore(self)
        self.jobs = MemoryJobStore(self)

    def transact(self, tenant_id: str, work: Callable[[TenantState], T]) -> T:
        """The result of `work` on a copy that becomes the state if it returns."""
        with self._lock:
            state = self._tenants.get(tenant_id, TenantState()).copy()
            result = work(state)
            if state.tenant is not None:
                self._tenants[tenant_id] = state
            elif any(vars(state).values()):
                raise BrokenReference(f"tenant {tenant_id} does not exist")
            return result

    def transact_all(self, work: Callable[[dict[str, TenantState]], T]) -> T:
        """As `transact`, over the states of all tenants."""
        with self._lock:
            states = self.states()
            result = work(states)
            self._tenants = states
            return result

    def forget(self, tenant_id: str) -> TenantState:
        """Take a tenant away with all its rows, and what others share with it."""
        with self._lock:
            gone = self._tenants.pop(tenant_id, TenantState())
            for state in self._tenants.values():
                state.grants = {
                    grant_id: one
                    for grant_id, one in state.grants.items()
                    if one.grantee_id != tenant_id
                }
            return gone

    def states(self) -> dict[str, TenantState]:
        """The state of every tenant."""
        with self._lock:
            return {name: state.copy() for name, state in sorted(self._tenants.items())}


class MemoryCatalogStore:
    """A `CatalogStore`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def read(self, tenant_id: str, work: Callable[[CatalogRecords], T]) -> T:
        """See `CatalogStore.read`."""
        state = self._database.states().get(tenant_id, TenantState())
        return work(MemoryCatalogRecords(state))

    def write(self, tenant_id: str, work: Callable[[CatalogRecords], T]) -> T:
        """See `CatalogStore.write`."""
        return self._database.transact(tenant_id, lambda state: work(MemoryCatalogRecords(state)))

    def tenant_ids(self) -> list[str]:
        """See `CatalogStore.tenant_ids`."""
        return sorted(self._database.states())


class MemoryCatalogRecords:
    """`CatalogRecords` of one tenant's state."""

    def __init__(self, state: TenantState) -> None:
        self.models = _Models(state)
        self.aliases = _Aliases(state)
        self.blobs = _Blobs(state)
        self.uploads = _Uploads(state)


class _Models:
    def __init__(self, state: TenantState) -> None:
        self._state = state

    def find(self, name: str) -> Model | None:
        return self._state.models.get(name)

    def all(self) -> list[Model]:
        return sorted(self._state.models.values(), key=lambda one: one.name)

    def add(self, model: Model) -> None:
        self._state.models[model.name] = model
        self._state.last_numbers[model.name] = 0

    def delete(self, name: str) -> None:
        if self.list_versions(name) or self._state.serving(name):
            raise BrokenReference(f"model {name} is referred to")
        del self._state.models[name]
        self._state.moves = [one for one in self._state.moves if one.model_name != name]

    def take_number(self, name: str) -> int:
        self._state.last_numbers[name] += 1
        return self._state.last_numbers[name]

    def add_version(self, version: Version) -> None:
        missing = [one.digest for one in version.files if one.digest not in self._state.blobs]
        if missing or version.model_name not in self._state.models:
            raise BrokenReference(f"version {version.ref} refers to what is not there")
        self._state.versions[version.model_name, version.number] = version

    def find_version(self, name: str, number: int) -> Version | None:
        found = self._state.versions.get((name, number))
        return None if found is None else self._with_damage(found)

    def _with_damage(self, version: Version) -> Version:
        blobs = [self._state.blobs[file.digest] for file in version.files]
        damages = [blob.damaged_at for blob in blobs if blob.damaged_at is not None]
        return replace(version, quarantined_at=min(damages, default=None))

    def find_digest(self, name: str, digest: str) -> Version | None:
        return next((one for one in self.list_versions(name) if one.digest == digest), None)

    def newest_version(self, name: str) -> Version | None:
        return next(iter(self.list_versions(name)), None)

    def list_versions(self, name: str) -> list[Version]:
        found = [
            self._with_damage(one)
            for one in self._state.versions.values()
            if one.model_name == name
        ]
        return sorted(found, key=lambda one: -one.number)

    def delete_version(self, name: str, number: int) -> None:
        pointing = [
            one
            for one in self._state.aliases.values()
            if (one.model_name, one.version_number) == (name, number)
        ]
        if pointing or self._state.serving(name, number):
            raise BrokenReference(f"version {name}@{number} is referred to")
        self._state.versions.pop((name, number), None)
        self._state.lineages.pop((name, number), None)

    def deployments_of(self, name: str, number: int | None = None) -> list[str]:
        return self._state.serving(name, number)


class _Aliases:
    def __init__(self, state: TenantState) -> None:
        self._state = state

    def find(self, model_name: str, name: str) -> Alias | None:
        return self._state.aliases.get((model_name, name))

    def all(self, model_name: str) -> list[Alias]:
        found = [one for one in self._state.aliases.values() if one.model_name == model_name]
        return sorted(found, key=lambda one: one.name)

    def put(self, alias: Alias) -> None:
        if (alias.model_name, alias.version_number) not in self._state.versions:
            raise BrokenReference(f"alias {alias.name} refers to what is not there")
        self._state.aliases[alias.model_name, alias.name] = alias

    def delete(self, model_name: str, name: str) -> None:
        self._state.aliases.pop((model_name, name), None)

    def add_move(self, move: AliasMove) -> None:
        self._state.moves.append(move)

    def list_moves(self, model_name: str, name: str | None, limit: int) -> list[AliasMove]:
        found = [
            one
            for one in reversed(self._state.moves)
            if one.model_name == model_name and name in (None, one.name)
        ]
        return found[:limit]


class _Blobs:
    def __init__(self, state: TenantState) -> None:
        self._state = state

    def find(self, digest: str) -> BlobRecord | None:
        return self._state.blobs.get(digest)

    def add(self, blob: BlobRecord) -> None:
        self._state.blobs[blob.digest] = blob

    def note_damage(self, digest: str, at: datetime) -> bool:
        known = self._state.blobs.get(digest)
        if known is None or known.damaged_at is not None:
            return False
        self._state.blobs[digest] = replace(known, damaged_at=at)
        return True

    def digests(self) -> set[str]:
        return set(self._state.blobs)

    def total_bytes(self) -> int:
        return sum(one.size_bytes for one in self._state.blobs.values())

    def delete_unused(self, created_before: datetime, digest: str | None = None) -> list[str]:
        used = {file.digest for one in self._state.versions.values() for file in one.files}
        used |= shard_digests(self._state)
        used |= {one.digest for one in self._state.checkpoints.values()}
        used |= {one.digest for one in self._state.artefacts.values()}
        used |= {one.digest for one in self._state.files.values()}
        unused = [
            one
            for one, blob in self._state.blobs.items()
            if one not in used and blob.created_at < created_before and digest in (None, one)
        ]
        for one in unused:
            del self._state.blobs[one]
        return unused


class _Uploads:
    def __init__(self, state: TenantState) -> None:
        self._state = state

    def find(self, upload_id: str) -> UploadRecord | None:
        return self._state.uploads.get(upload_id)

    def all(self) -> list[UploadRecord]:
        return sorted(self._state.uploads.values(), key=lambda one: (one.created_at, one.upload_id))

    def put(self, upload: UploadRecord) -> None:
        self._state.uploads[upload.upload_id] = upload

    def delete(self, upload_id: str) -> bool:
        return self._state.uploads.pop(upload_id, None) is not None


class MemoryDeploymentStore:
    """A `DeploymentStore`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def list_all(self) -> list[Deployment]:
        """All deployments of all tenants."""
        return [one for state in self._database.states().values() for one in _by_name(state)]

    def get(self, tenant_id: str, name: str) -> Deployment | None:
        """One deployment, or None."""
        return self._database.states().get(tenant_id, TenantState()).deployments.get(name)

    def put(self, deployment: Deployment) -> None:
        """Insert or replace; Conflict if a version is not there."""

        def work(state: TenantState) -> None:
            for share in deployment.traffic:
                if (deployment.model_name, share.version_number) not in state.versions:
                    raise Conflict(f"Version {share.version_number} does not exist.")
            state.deployments[deployment.name] = deployment

        self._database.transact(deployment.tenant_id, work)

    def delete(self, tenant_id: str, name: str) -> bool:
        """Remove; False if it was not there."""

        def work(state: TenantState) -> bool:
            state.grants = {
                grant_id: one for grant_id, one in state.grants.items() if one.deployment != name
            }
            return state.deployments.pop(name, None) is not None

        return self._database.transact(tenant_id, work)

    def list(self, tenant_id: str) -> list[Deployment]:
        """A tenant's deployments, by name."""
        return _by_name(self._database.states().get(tenant_id, TenantState()))


def _by_name(state: TenantState) -> list[Deployment]:
    return [state.deployments[name] for name in sorted(state.deployments)]
