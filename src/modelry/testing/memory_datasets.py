"""Datasets in memory, over the state of `MemoryDatabase`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from modelry.domain.datasets import Dataset, DatasetVersion
from modelry.domain.errors import NotFound
from modelry.services.datasets.ports import NewVersion
from modelry.testing.memory_state import TenantState

T = TypeVar("T")


class _States(Protocol):
    def transact(self, tenant_id: str, work: Callable[[TenantState], T]) -> T: ...

    def states(self) -> Mapping[str, TenantState]: ...


class MemoryDatasetStore:
    """A `DatasetStore`."""

    def __init__(self, database: _States) -> None:
        self._database = database

    def all(self, tenant_id: str) -> list[Dataset]:
        """All datasets of a tenant, by name."""
        return [one for _, one in sorted(self._state(tenant_id).datasets.items())]

    def newest(self, tenant_id: str) -> dict[str, DatasetVersion]:
        """The newest version of each dataset."""
        versions = sorted(self._state(tenant_id).dataset_versions.items())
        return {name: version for (name, _), version in versions}

    def find(self, tenant_id: str, name: str) -> Dataset | None:
        """One dataset."""
        return self._state(tenant_id).datasets.get(name)

    def version(
        self, tenant_id: str, name: str, number: int | None = None
    ) -> DatasetVersion | None:
        """One version; the newest for no number."""
        found = self.versions(tenant_id, name)
        return next((one for one in found if number in (None, one.number)), None)

    def versions(self, tenant_id: str, name: str) -> list[DatasetVersion]:
        """All versions of a dataset, newest first."""
        return _versions(self._state(tenant_id), name)

    def with_digest(self, tenant_id: str, name: str, digest: str) -> DatasetVersion | None:
        """The version of a dataset that has these rows."""
        return next((one for one in self.versions(tenant_id, name) if one.digest == digest), None)

    def add(self, version: NewVersion) -> tuple[DatasetVersion, bool]:
        """Keep a version."""

        def work(state: TenantState) -> tuple[DatasetVersion, bool]:
            name = version.dataset_name
            for known in _versions(state, name):
                if known.digest == version.digest:
                    return known, False
            for split in version.splits:
                for shard in split.shards:
                    if shard.digest not in state.blobs:
                        raise NotFound(f"The content {shard.digest} of a shard is not there.")
            if name not in state.datasets:
                state.datasets[name] = Dataset(
                    version.tenant_id, name, version.created_at, version.created_by
                )
            number = state.dataset_numbers[name] = state.dataset_numbers.get(name, 0) + 1
            made = state.dataset_versions[name, number] = version.numbered(number)
            return made, True

        return self._database.transact(version.tenant_id, work)

    def delete_version(self, tenant_id: str, name: str, number: int) -> bool:
        """Remove a version."""
        return self._database.transact(
            tenant_id, lambda state: state.dataset_versions.pop((name, number), None) is not None
        )

    def delete(self, tenant_id: str, name: str) -> bool:
        """Remove a dataset with all its versions."""

        def work(state: TenantState) -> bool:
            for one in _versions(state, name):
                del state.dataset_versions[name, one.number]
            state.dataset_numbers.pop(name, None)
            return state.datasets.pop(name, None) is not None

        return self._database.transact(tenant_id, work)

    def _state(self, tenant_id: str) -> TenantState:
        return self._database.states().get(tenant_id, TenantState())


def shard_digests(state: TenantState) -> set[str]:
    """The contents that datasets refer to."""
    return {
        shard.digest
        for version in state.dataset_versions.values()
        for split in version.splits
        for shard in split.shards
    }


def _versions(state: TenantState, name: str) -> list[DatasetVersion]:
    found = [one for one in state.dataset_versions.values() if one.dataset_name == name]
    return sorted(found, key=lambda one: -one.number)
