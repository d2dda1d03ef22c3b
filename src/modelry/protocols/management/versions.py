"""`/versions`: immutable versions of models, and their registration."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Response
from pydantic import Field, model_validator

from modelry.domain import catalog as domain
from modelry.domain.access import Permission
from modelry.domain.errors import InvalidInput
from modelry.manifest.document import ManifestDocument, parse_manifest
from modelry.protocols.management.auditing import note
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Catalog
from modelry.protocols.management.shapes import Answer, Body, Digest, Name, NumberInPath, ShortText
from modelry.services.catalog import registration
from modelry.tasks.graphs import graph_digest

MAX_FILES = 64

router = managed_router("versions")


class VersionFile(Answer):
    """One file of a version; `role` is its key under `files` in the manifest."""

    role: str
    name: str
    digest: str
    size_bytes: int


class Version(Answer):
    """An immutable version; `manifest` has every default filled in.

    `quarantined_at` is when one of its files was found damaged on the server's disk; until the same
    file is uploaded again, the version is neither loaded nor served.
    `graph_digest` is of the processing around the engine alone.
    """

    model: str
    version: int
    ref: str
    digest: str
    graph_digest: str
    task: str
    runtime: str
    source: str
    created_at: datetime
    created_by: str
    quarantined_at: datetime | None
    signature: dict[str, Any]
    files: list[VersionFile]
    manifest: dict[str, Any]

    @classmethod
    def of(cls, version: domain.Version) -> Version:
        """The shape of `version`."""
        return cls(
            model=version.model_name,
            version=version.number,
            ref=version.ref,
            digest=version.digest,
            graph_digest=graph_digest(version.task, version.manifest),
            task=version.task,
            runtime=version.runtime,
            source=version.source,
            created_at=version.created_at,
            created_by=version.created_by,
            quarantined_at=version.quarantined_at,
            signature=version.signature.to_wire(),
            files=[
                VersionFile(
                    role=file.role,
                    name=file.name,
                    digest=file.digest,
                    size_bytes=file.size_bytes,
                )
                for file in version.files
            ],
            manifest=dict(version.manifest),
        )


class VersionList(Answer):
    """All versions of a model, newest first."""

    versions: list[Version]


class Registration(Answer):
    """The version that was asked for, whether it is new, and what was inferred on the way."""

    version: Version
    created: bool
    notes: list[str]

    @classmethod
    def of(cls, done: registration.Registration) -> Registration:
        """The shape of `done`."""
        return cls(version=Version.of(done.version), created=done.created, notes=list(done.notes))


class SingleFile(Body):
    """An uploaded content and the name of the file that it was."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    digest: Digest


class RegistrationBody(Body):
    """A manifest with the digests of its uploaded files by role, or one file alone."""

    manifest: Annotated[str, Field(min_length=1, max_length=256 * 1024)] | None = None
    files: Annotated[dict[ShortText, Digest], Field(max_length=MAX_FILES)] | None = None
    file: SingleFile | None = None
    name: Name | None = None
    task: ShortText | None = None
    source: Annotated[str, Field(min_length=1, max_length=2000)] = "upload"

    @model_validator(mode="after")
    def _is_one_of_two(self) -> RegistrationBody:
        if (self.manifest is None) == (self.file is None):
            raise ValueError("give either 'manifest' with 'files', or 'file'.")
        if self.manifest is not None and (self.name or self.task):
            raise ValueError("with 'manifest', 'name' and 'task' are said in the manifest.")
        if self.file is not None and self.files is not None:
            raise ValueError("'files' belongs to 'manifest'; a single file is given as 'file'.")
        if not self.source.isprintable():
            raise ValueError("'source' has characters that cannot be printed.")
        return self


def single_document(text: str) -> ManifestDocument:
    """The one manifest of a YAML text.

    Raises:
        ManifestInvalid: what is wrong, with line and column.
        InvalidInput: it holds several.
    """
    documents = parse_manifest(text)
    if len(documents) != 1:
        raise InvalidInput(
            f"The manifest holds {len(documents)} documents; send one at a time.", param="manifest"
        )
    return documents[0]


@router.get(
    "/models/{model}/versions",
    summary="List versions, newest first",
    openapi_extra=needs(Permission.MODELS_READ),
)
def list_versions(model: str, caller: Caller, catalog: Catalog) -> VersionList:
    """All versions of a model."""
    return VersionList(versions=[Version.of(one) for one in catalog.list_versions(caller, model)])


@router.get(
    "/models/{model}/versions/{version}",
    summary="One version, by number or alias",
    openapi_extra=needs(Permission.MODELS_READ),
)
def get_version(model: str, version: str, caller: Caller, catalog: Catalog) -> Version:
    """One version."""
    catalog.get_model(caller, model)  # a name with '@' in it names no model
    return Version.of(catalog.resolve(caller, f"{model}@{version}"))


@router.delete(
    "/models/{model}/versions/{version}",
    status_code=204,
    summary="Delete a version; its number is not given again",
    openapi_extra=needs(Permission.MODELS_WRITE),
)
def delete_version(model: str, version: NumberInPath, caller: Caller, catalog: Catalog) -> None:
    """Refused with 409 while a deployment serves it or an alias points at it."""
    catalog.delete_version(caller, model, version)


@router.post(
    "/versions",
    status_code=201,
    summary="Register a version of uploaded files",
    response_description="A new version; 200 when the same bytes were registered before.",
    openapi_extra=needs(Permission.MODELS_WRITE, recorded=("name", "task")),
)
def register(
    body: RegistrationBody, caller: Caller, catalog: Catalog, response: Response
) -> Registration:
    """Registering the same bytes again gives the version that they are."""
    if body.manifest is not None:
        document = single_document(body.manifest)
        done = catalog.register(caller, document, body.files or {}, source=body.source)
    else:
        assert body.file is not None, "the body says one of two"
        done = catalog.register_bare(
            caller,
            body.file.name,
            body.file.digest,
            name=body.name,
            task=body.task,
            source=body.source,
        )
    response.status_code = 201 if done.created else 200
    note(version=done.version.ref, digest=done.version.digest)
    return Registration.of(done)
