"""The use cases on datasets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from modelry.domain.access import Permission, Principal
from modelry.domain.datasets import DataDescription, Dataset, DatasetVersion
from modelry.domain.errors import Conflict, InvalidInput, NotFound
from modelry.runtime_api.work import InputFile, Works
from modelry.services.datasets.ports import Contents, DatasetStore
from modelry.services.datasets.previewing import Preview, RowsAsked, read_rows

Users = Callable[[str, DatasetVersion], list[str]]
"""Says, for a tenant and a version, what needs the version just now, in words."""


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """A dataset and its newest version; None if all were deleted."""

    dataset: Dataset
    newest: DatasetVersion | None


class DatasetsService:
    """Datasets of the caller's tenant; implements what other services read of them.

    Every method blocks; call it in a thread.

    Args:
        store: keeps versions.
        contents: keeps shards.
        works: reads rows.
        clock: gives the time.
    """

    def __init__(
        self,
        store: DatasetStore,
        contents: Contents,
        works: Works,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.store = store
        self.contents = contents
        self.works = works
        self.clock = clock
        self._users: list[Users] = []

    def used_by(self, users: Users) -> None:
        """Have `users` asked before a version is deleted: what it names keeps the version."""
        self._users.append(users)

    # ---- for callers ------------------------------------------------------------------------

    def all(self, principal: Principal) -> list[DatasetSummary]:
        """All datasets with their newest versions, by name."""
        principal.require(Permission.DATASETS_READ)
        newest = self.store.newest(principal.tenant_id)
        return [
            DatasetSummary(one, newest.get(one.name)) for one in self.store.all(principal.tenant_id)
        ]

    def get(self, principal: Principal, name: str) -> DatasetSummary:
        """One dataset.

        Raises:
            NotFound: there is none of that name.
        """
        principal.require(Permission.DATASETS_READ)
        dataset = self._dataset(principal.tenant_id, name)
        return DatasetSummary(dataset, self.store.version(principal.tenant_id, name))

    def versions(self, principal: Principal, name: str) -> list[DatasetVersion]:
        """All versions of a dataset, newest first.

        Raises:
            NotFound: there is no such dataset.
        """
        principal.require(Permission.DATASETS_READ)
        self._dataset(principal.tenant_id, name)
        return self.store.versions(principal.tenant_id, name)

    def find(self, principal: Principal, ref: str) -> DatasetVersion:
        """The version that `name@3`, or `name` (its newest), means.

        Raises:
            NotFound: there is no such version.
            InvalidInput: not of these forms.
        """
        principal.require(Permission.DATASETS_READ)
        name, number = split_ref(ref)
        found = self.store.version(principal.tenant_id, name, number)
        if found is None:
            self._dataset(principal.tenant_id, name)
            told = "no versions (any more)" if number is None else f"no version {number}"
            raise NotFound(f"Dataset '{name}' has {told}.", param="dataset")
        return found

    def describe(self, principal: Principal, ref: str) -> DataDescription:
        """What is known of a version before a row is read; raises as `find`."""
        return description_of(self.find(principal, ref))

    def rows(self, principal: Principal, ref: str, asked: RowsAsked) -> Preview:
        """Some rows, to be looked at; see `previewing.read_rows`."""
        principal.require(Permission.ROWS_READ)
        return read_rows(self.find(principal, ref), asked, self.contents, self.works)

    def check_may_make(self, principal: Principal) -> None:
        """See that the caller may make versions.

        Raises:
            PermissionDenied: it may not.
        """
        principal.require(Permission.DATASETS_WRITE)

    def delete_version(self, principal: Principal, name: str, number: int) -> None:
        """Delete a version; its number is not given again, its rows are collected later.

        Raises:
            NotFound: there is no such version.
            Conflict: something needs it.
        """
        principal.require(Permission.DATASETS_WRITE)
        version = self.store.version(principal.tenant_id, name, number)
        if version is None:
            raise NotFound(f"There is no version {name}@{number}.", param="dataset")
        self._check_unused(version)
        self.store.delete_version(principal.tenant_id, name, number)

    def delete(self, principal: Principal, name: str) -> None:
        """Delete a dataset with all its versions; raises as `delete_version`."""
        principal.require(Permission.DATASETS_WRITE)
        self._dataset(principal.tenant_id, name)
        for version in self.store.versions(principal.tenant_id, name):
            self._check_unused(version)
        self.store.delete(principal.tenant_id, name)

    # ---- for other services ------------------------------------------------------------------

    def open_shard(self, tenant_id: str, digest: str) -> InputFile:
        """A shard's file in memory, which the caller closes; rights were checked before.

        Raises:
            NotFound: it is not kept (any more).
            DataDamaged, KeyUnavailable, Overloaded: it cannot be opened.
        """
        return self.contents.open(tenant_id, digest, "shard")

    # ---- inside ------------------------------------------------------------------------------

    def _dataset(self, tenant_id: str, name: str) -> Dataset:
        found = self.store.find(tenant_id, name)
        if found is None:
            raise NotFound(f"There is no dataset '{name[:80]}'.", param="dataset")
        return found

    def _check_unused(self, version: DatasetVersion) -> None:
        for users in self._users:
            needed = users(version.tenant_id, version)
            if needed:
                raise Conflict(
                    f"Version {version.ref} is needed by {needed[0]}; wait for its end, or cancel "
                    "it first.",
                    param="dataset",
                )


def split_ref(ref: str) -> tuple[str, int | None]:
    """Name and number of `name@3`; no number for a bare name.

    Raises:
        InvalidInput: not of these forms.
    """
    name, at, number = ref.partition("@")
    if not at:
        return name, None
    if not (number.isascii() and number.isdigit() and 0 < int(number[:11]) < 2**31):
        raise InvalidInput(
            f"{ref[:80]!r} names no version of a dataset: write name@3, or name for the newest.",
            param="dataset",
        )
    return name, int(number)


def description_of(version: DatasetVersion) -> DataDescription:
    """What is known of a version before a row is read."""
    return DataDescription(
        ref=version.ref,
        digest=version.digest,
        schema=version.schema,
        rows={one.name: one.rows for one in version.splits},
        statistics=version.statistics,
    )
