"""What training needs from outside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from modelry.domain.access import Principal
from modelry.domain.catalog import Model, Version
from modelry.domain.datasets import DatasetVersion
from modelry.domain.lineage import Lineage
from modelry.manifest.document import ManifestDocument
from modelry.runtime_api.work import InputFile


class Datasets(Protocol):
    """Versions of datasets, and their shards."""

    def find(self, principal: Principal, ref: str) -> DatasetVersion:
        """The version that `name` (its newest) or `name@3` means.

        Raises:
            NotFound: there is none.
            PermissionDenied: the caller may not see datasets.
        """
        ...

    def open_shard(self, tenant_id: str, digest: str) -> InputFile:
        """A shard's file, open.

        Raises:
            NotFound, DataDamaged, KeyUnavailable, Overloaded: it cannot be opened.
        """
        ...


class KeptFile(Protocol):
    """A content that was kept."""

    @property
    def digest(self) -> str:
        """`sha256:<64 hex digits>`."""
        ...

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        ...


class OpenContent(InputFile, Protocol):
    """A content in memory."""

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        ...


class Contents(Protocol):
    """A tenant's contents; see `services.catalog.contents`."""

    def keep_file(self, tenant_id: str, file: Path) -> KeptFile:
        """Keep what is in a file.

        Raises:
            QuotaExceeded, PayloadTooLarge, Overloaded: it cannot be kept.
        """
        ...

    def open(self, tenant_id: str, digest: str, name: str) -> OpenContent:
        """A content in memory, which the caller closes.

        Raises:
            NotFound, DataDamaged, KeyUnavailable, Overloaded: it cannot be opened.
        """
        ...


class Registered(Protocol):
    """What came of registering."""

    @property
    def version(self) -> Version:
        """The version: a new one, or the one that had these files already."""
        ...


class KnownModel(Protocol):
    """A model, as the catalogue tells of it."""

    @property
    def model(self) -> Model:
        """Its name and task."""
        ...


class Catalogue(Protocol):
    """Models and their versions."""

    @property
    def contents(self) -> Contents:
        """The tenant's contents."""
        ...

    def resolve(self, principal: Principal, reference: str) -> Version:
        """The version that `name` (its newest), `name@3` or `name@alias` means, or NotFound."""
        ...

    def get_model(self, principal: Principal, name: str) -> KnownModel:
        """One model, or NotFound."""
        ...

    def register(
        self,
        principal: Principal,
        document: ManifestDocument,
        files: Mapping[str, str],
        source: str,
    ) -> Registered:
        """The version of a manifest and kept files; the same again is the same version."""
        ...


class LineageStore(Protocol):
    """Keeps where versions come from; each call is one transaction."""

    def add(self, lineage: Lineage) -> None:
        """Keep it, unless the version has one: the first run that gave a version stays its origin.

        Raises:
            Conflict: there is no such version (any more).
        """
        ...

    def find(self, tenant_id: str, model_name: str, number: int) -> Lineage | None:
        """Where a version comes from; None when it was not trained here."""
        ...
