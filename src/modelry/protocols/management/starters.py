"""`/catalog`: ready-made models that can be pulled by name."""

from __future__ import annotations

from typing import Any

from modelry.domain.access import Permission
from modelry.manifest.document import ManifestDocument
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Catalog
from modelry.protocols.management.shapes import Answer

router = managed_router("catalog")


class CatalogEntry(Answer):
    """A starter model; `files` are the sources of its files, by role."""

    name: str
    task: str
    description: str | None
    license: str | None
    size_bytes: int | None
    files: dict[str, str]
    manifest: dict[str, Any]

    @classmethod
    def of(cls, document: ManifestDocument) -> CatalogEntry:
        """The shape of an entry; what it is is told by its `metadata`."""
        size = document.metadata.get("size_bytes", "")
        return cls(
            name=document.name,
            task=document.task,
            description=document.metadata.get("description"),
            license=document.metadata.get("license"),
            size_bytes=int(size) if size.isdecimal() else None,
            files={role: str(source) for role, source in document.files.items()},
            manifest=document.to_json(),
        )


class CatalogEntries(Answer):
    """All starter models."""

    entries: list[CatalogEntry]


@router.get(
    "/catalog",
    summary="Ready-made models that can be pulled by name",
    openapi_extra=needs(Permission.MODELS_READ),
)
def list_entries(caller: Caller, catalog: Catalog) -> CatalogEntries:
    """Pull one with `POST /api/v1/pulls` and its name as `source`."""
    return CatalogEntries(entries=[CatalogEntry.of(one) for one in catalog.starters(caller)])
