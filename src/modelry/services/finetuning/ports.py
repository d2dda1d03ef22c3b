"""What fine-tuning needs from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from modelry.domain.access import Principal
from modelry.domain.catalog import Version
from modelry.domain.datasets import DatasetVersion
from modelry.domain.files import TenantFile
from modelry.domain.lineage import Lineage
from modelry.runtime_api.engine import StopSignal
from modelry.services.files.service import NewFile


class Files(Protocol):
    """Files under ids."""

    def get(self, principal: Principal, file_id: str) -> TenantFile:
        """One file, or NotFound."""
        ...

    def keep_made(
        self, principal: Principal, file_id: str, wanted: NewFile, chunks: Iterable[bytes]
    ) -> TenantFile:
        """A file that the server makes; the one of that id where it was made before."""
        ...


class Datasets(Protocol):
    """Versions of datasets."""

    def versions(self, principal: Principal, name: str) -> Sequence[DatasetVersion]:
        """All versions of a dataset, newest first, or NotFound."""
        ...

    def find(self, principal: Principal, ref: str) -> DatasetVersion:
        """The version that `name@3` means, or NotFound."""
        ...


class Lineages(Protocol):
    """Where versions come from."""

    def find(self, tenant_id: str, model_name: str, number: int) -> Lineage | None:
        """Where a version comes from; None when it was not trained here."""
        ...


@dataclass(frozen=True, slots=True)
class Base:
    """A version to train further, and the options of the deployment by which it was named."""

    version: Version
    engine_options: Mapping[str, Any] = field(default_factory=dict)


class Bases(Protocol):
    """Finds what a caller calls a model."""

    def find(self, principal: Principal, model: str) -> Base:
        """The version that answers for a deployment of that name, else a model's version.

        Raises:
            NotFound: neither is there.
        """
        ...


class Serving(Protocol):
    """Has models answer."""

    def serve(
        self,
        principal: Principal,
        version: Version,
        engine_options: Mapping[str, Any],
        stop: StopSignal,
    ) -> None:
        """Deploy a version under its model's name; it is loaded by its first request.

        Raises:
            ModelryError: it cannot be, or the caller may not.
        """
        ...
