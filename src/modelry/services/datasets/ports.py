"""What datasets need from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from modelry.domain.datasets import Dataset, DatasetVersion, Schema, Split
from modelry.runtime_api.work import InputFile


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version that has no number yet; see `DatasetVersion`."""

    tenant_id: str
    dataset_name: str
    digest: str
    schema: Schema
    splits: tuple[Split, ...]
    created_at: datetime
    created_by: str
    statistics: Mapping[str, Any]
    report: Mapping[str, Any]
    origin: Mapping[str, Any]

    def numbered(self, number: int) -> DatasetVersion:
        """The version, once its number is known."""
        return DatasetVersion(
            tenant_id=self.tenant_id,
            dataset_name=self.dataset_name,
            number=number,
            digest=self.digest,
            schema=self.schema,
            splits=self.splits,
            created_at=self.created_at,
            created_by=self.created_by,
            statistics=self.statistics,
            report=self.report,
            origin=self.origin,
        )


class DatasetStore(Protocol):
    """Keeps datasets; each call is one transaction."""

    def all(self, tenant_id: str) -> list[Dataset]:
        """All datasets of a tenant, by name."""
        ...

    def newest(self, tenant_id: str) -> dict[str, DatasetVersion]:
        """The newest version of each dataset that has one, by the dataset's name."""
        ...

    def find(self, tenant_id: str, name: str) -> Dataset | None:
        """One dataset."""
        ...

    def version(
        self, tenant_id: str, name: str, number: int | None = None
    ) -> DatasetVersion | None:
        """One version; the newest for no number."""
        ...

    def versions(self, tenant_id: str, name: str) -> list[DatasetVersion]:
        """All versions of a dataset, newest first."""
        ...

    def with_digest(self, tenant_id: str, name: str, digest: str) -> DatasetVersion | None:
        """The version of a dataset that has these rows."""
        ...

    def add(self, version: NewVersion) -> tuple[DatasetVersion, bool]:
        """Keep a version, and its dataset if it is the first.

        Returns:
            The version, and whether it is new: the same digest under the same name is the same
            version, as it was.

        Raises:
            NotFound: the content of a shard is not kept (any more).
        """
        ...

    def delete_version(self, tenant_id: str, name: str, number: int) -> bool:
        """Remove a version; its number is not given again. False if it was not there."""
        ...

    def delete(self, tenant_id: str, name: str) -> bool:
        """Remove a dataset with all its versions; False if it was not there."""
        ...


class SealedContent(InputFile, Protocol):
    """A content in memory."""

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        ...


class KeptContent(Protocol):
    """A content that was kept."""

    @property
    def digest(self) -> str:
        """`sha256:<64 hex digits>`."""
        ...

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        ...


class Contents(Protocol):
    """Keeps shards and opens files; see `services.catalog.contents`."""

    def keep(
        self, tenant_id: str, chunks: Iterable[bytes], digest: str | None = None
    ) -> KeptContent:
        """Keep a content.

        Raises:
            QuotaExceeded, PayloadTooLarge, Overloaded: it cannot be kept.
        """
        ...

    def keep_file(self, tenant_id: str, file: Path) -> KeptContent:
        """Keep what is in a file; see `keep`."""
        ...

    def size_of(self, tenant_id: str, digest: str) -> int | None:
        """How many bytes a content has; None if the tenant has none such."""
        ...

    def open(self, tenant_id: str, digest: str, name: str) -> SealedContent:
        """A content in memory, which the caller closes.

        Raises:
            NotFound, DataDamaged, KeyUnavailable, Overloaded: it cannot be opened.
        """
        ...
