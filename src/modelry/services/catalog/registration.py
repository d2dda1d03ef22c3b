"""Giving a resolved manifest its version: the same bytes again are the same version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelry.domain.access import Principal
from modelry.domain.catalog import Model, ModelFile, Version
from modelry.domain.errors import Conflict, NotFound
from modelry.domain.signature import Signature
from modelry.manifest.digests import digest_of_json
from modelry.services.catalog.ports import CatalogRecords, CatalogStore


@dataclass(frozen=True, slots=True)
class ResolvedManifest:
    """A manifest with every default filled in.

    `document` is what is kept and given to workers; `notes` tell what was inferred, for people.
    """

    document: Mapping[str, Any]
    signature: Signature
    files: tuple[ModelFile, ...]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.document["name"])

    @property
    def task(self) -> str:
        """The model's task."""
        return str(self.document["task"])

    def digest(self) -> str:
        """Covers all that makes predictions what they are: the manifest and the files' digests."""
        return digest_of_json(dict(self.document))


@dataclass(frozen=True, slots=True)
class Registration:
    """The version that a manifest has, whether it is new, and what was inferred on the way."""

    version: Version
    created: bool
    notes: tuple[str, ...]


class Registrar:
    """Gives versions their numbers.

    Args:
        store: keeps them.
        clock: gives the time.
    """

    def __init__(self, store: CatalogStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def register(
        self, principal: Principal, resolved: ResolvedManifest, source: str
    ) -> Registration:
        """The version of `resolved`: the one that is there, or the next number.

        Raises:
            Conflict: the model has another task.
            NotFound: a file's content was collected meanwhile.
        """
        digest = resolved.digest()
        now = self._clock()

        def work(records: CatalogRecords) -> Registration:
            self._ensure_model(records, principal.tenant_id, resolved, now)
            known = records.models.find_digest(resolved.name, digest)
            if known is not None:
                return Registration(known, created=False, notes=resolved.notes)
            for file in resolved.files:
                _check_kept(records, file)
            version = Version(
                tenant_id=principal.tenant_id,
                model_name=resolved.name,
                number=records.models.take_number(resolved.name),
                digest=digest,
                task=resolved.task,
                runtime=str(resolved.document["runtime"]),
                manifest=dict(resolved.document),
                signature=resolved.signature,
                files=resolved.files,
                created_at=now,
                created_by=principal.key_id,
                source=source,
            )
            records.models.add_version(version)
            return Registration(version, created=True, notes=resolved.notes)

        return self._store.write(principal.tenant_id, work)

    @staticmethod
    def _ensure_model(
        records: CatalogRecords, tenant_id: str, resolved: ResolvedManifest, now: datetime
    ) -> None:
        model = records.models.find(resolved.name)
        if model is None:
            records.models.add(Model(tenant_id, resolved.name, resolved.task, now))
        elif model.task != resolved.task:
            raise Conflict(
                f"Model '{model.name}' has the task '{model.task}', this manifest has "
                f"'{resolved.task}'. A model keeps its task: choose another name.",
                param="task",
            )


def _check_kept(records: CatalogRecords, file: ModelFile) -> None:
    if records.blobs.find(file.digest) is None:
        raise NotFound(
            f"The content {file.digest} of file '{file.name}' is not there; upload it first.",
            param=f"files.{file.role}",
        )
