"""Every store port in memory: the fakes that services are tested with.

They pass the same suites as the SQL stores. A failed piece of work leaves no trace, as in a
database: work runs on a copy that replaces the state when it returns.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from modelry.domain.access import ApiKey, Member, Tenant
from modelry.domain.catalog import Alias, AliasMove, Model, Version
from modelry.domain.deployments import Deployment
from modelry.domain.errors import Conflict
from modelry.domain.quotas import Quota
from modelry.services.catalog.ports import BlobRecord, CatalogRecords, UploadRecord
from modelry.services.tenancy.ports import KeyRecords
from modelry.services.usage.ports import Segment
from modelry.testing.memory_quotas import MemoryQuotaStore
from modelry.testing.memory_usage import MemoryUsageStore

T = TypeVar("T")


class BrokenReference(Conflict):
    """What a database refuses by a foreign key."""


@dataclass
class TenantState:
    """All rows of one tenant."""

    tenant: Tenant | None = None
    keys: dict[str, ApiKey] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    last_numbers: dict[str, int] = field(default_factory=dict)
    versions: dict[tuple[str, int], Version] = field(default_factory=dict)
    aliases: dict[tuple[str, str], Alias] = field(default_factory=dict)
    moves: list[AliasMove] = field(default_factory=list)
    blobs: dict[str, BlobRecord] = field(default_factory=dict)
    uploads: dict[str, UploadRecord] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)
    quotas: dict[str, Quota] = field(default_factory=dict)
    segments: dict[tuple[str, int], Segment] = field(default_factory=dict)

    def copy(self) -> TenantState:
        """A copy that may be changed; the values in it are frozen and shared."""
        copied = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, dict | list):
                setattr(copied, name, value.copy())
        return copied

    def serving(self, model_name: str, number: int | None = None) -> list[str]:
        """Names of the deployments that serve a version, or any of a model."""
        return sorted(
            one.name
            for one in self.deployments.values()
            if one.model_name == model_name
            and (number is None or any(share.version_number == number for share in one.traffic))
        )


class MemoryDatabase:
    """All stores, over one state."""

    def __init__(self) -> None:
        self._tenants: dict[str, TenantState] = {}
        self._lock = threading.RLock()
        self.settings: dict[str, str] = {}
        self.keys = MemoryKeyStore(self)
        self.catalog = MemoryCatalogStore(self)
        self.deployments = MemoryDeploymentStore(self)
        self.quotas = MemoryQuotaStore(self)
        self.usage = MemoryUsageStore(self)

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
        return self._state.versions.get((name, number))

    def find_digest(self, name: str, digest: str) -> Version | None:
        return next((one for one in self.list_versions(name) if one.digest == digest), None)

    def newest_version(self, name: str) -> Version | None:
        return next(iter(self.list_versions(name)), None)

    def list_versions(self, name: str) -> list[Version]:
        found = [one for one in self._state.versions.values() if one.model_name == name]
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

    def digests(self) -> set[str]:
        return set(self._state.blobs)

    def delete_unused(self, created_before: datetime) -> list[str]:
        used = {file.digest for one in self._state.versions.values() for file in one.files}
        unused = [
            digest
            for digest, blob in self._state.blobs.items()
            if digest not in used and blob.created_at < created_before
        ]
        for digest in unused:
            del self._state.blobs[digest]
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


class MemoryKeyStore:
    """A `KeyStore`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def read(self, tenant_id: str, work: Callable[[KeyRecords], T]) -> T:
        """See `KeyStore.read`."""
        return work(_Keys(self._database.states().get(tenant_id, TenantState())))

    def write(self, tenant_id: str, work: Callable[[KeyRecords], T]) -> T:
        """See `KeyStore.write`."""
        return self._database.transact(tenant_id, lambda state: work(_Keys(state)))

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
    def __init__(self, state: TenantState) -> None:
        self._state = state
        self.members = _Members(state)

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
        return self._database.transact(
            tenant_id, lambda state: state.deployments.pop(name, None) is not None
        )

    def list(self, tenant_id: str) -> list[Deployment]:
        """A tenant's deployments, by name."""
        return _by_name(self._database.states().get(tenant_id, TenantState()))


def _by_name(state: TenantState) -> list[Deployment]:
    return [state.deployments[name] for name in sorted(state.deployments)]
