"""Reading, and deleting, models and versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import Alias, Model, Version
from modelry.domain.errors import Conflict
from modelry.services.catalog.lookup import resolve, the_model, the_version
from modelry.services.catalog.ports import CatalogRecords, CatalogStore, SealedFile
from modelry.services.catalog.quarantine import Quarantine


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """A model, its newest version (None if all were deleted), and its aliases."""

    model: Model
    newest: Version | None
    aliases: tuple[Alias, ...]


class VersionReader:
    """Versions and their files for the server itself; the caller's rights were checked before.

    Implements `modelry.services.deployments.ports.VersionSource`.
    """

    def __init__(self, store: CatalogStore, quarantine: Quarantine) -> None:
        self._store = store
        self._quarantine = quarantine

    def version(self, tenant_id: str, model_name: str, number: int) -> Version:
        """One version.

        Raises:
            NotFound: there is none.
        """
        return self._store.read(tenant_id, lambda records: the_version(records, model_name, number))

    def open_files(self, version: Version) -> Mapping[str, SealedFile]:
        """The version's files, decrypted into memory, by role; the caller closes each.

        Raises:
            DataDamaged, KeyUnavailable, Overloaded: see `Quarantine.open`.
        """
        opened: dict[str, SealedFile] = {}
        try:
            for file in version.files:
                opened[file.role] = self._quarantine.open(version.tenant_id, file.digest, file.name)
        except BaseException:
            for one in opened.values():
                one.close()
            raise
        return opened


class Versions:
    """Use cases on models and versions that are there."""

    def __init__(self, store: CatalogStore) -> None:
        self._store = store

    def models(self, principal: Principal) -> list[ModelSummary]:
        """All models of the caller's tenant, by name."""
        principal.require(Permission.MODELS_READ)

        def work(records: CatalogRecords) -> list[ModelSummary]:
            return [_summary(records, model) for model in records.models.all()]

        return self._store.read(principal.tenant_id, work)

    def model(self, principal: Principal, name: str) -> ModelSummary:
        """One model.

        Raises:
            NotFound: no such model.
        """
        principal.require(Permission.MODELS_READ)
        return self._store.read(
            principal.tenant_id, lambda records: _summary(records, the_model(records, name))
        )

    def versions(self, principal: Principal, name: str) -> list[Version]:
        """All versions of a model, newest first.

        Raises:
            NotFound: no such model.
        """
        principal.require(Permission.MODELS_READ)

        def work(records: CatalogRecords) -> list[Version]:
            return records.models.list_versions(the_model(records, name).name)

        return self._store.read(principal.tenant_id, work)

    def version(self, principal: Principal, name: str, number: int) -> Version:
        """One version.

        Raises:
            NotFound: no such model or version.
        """
        principal.require(Permission.MODELS_READ)
        return self._store.read(
            principal.tenant_id, lambda records: the_version(records, name, number)
        )

    def resolve(self, principal: Principal, reference: str) -> Version:
        """The version that `name` (its newest), `name@number` or `name@alias` means.

        Raises:
            NotFound: no such model, version or alias.
            InvalidInput: not of these forms.
        """
        principal.require(Permission.MODELS_READ)
        return self._store.read(principal.tenant_id, lambda records: resolve(records, reference))

    def delete_version(self, principal: Principal, name: str, number: int) -> None:
        """Delete a version; its number is never given again, its files are collected later.

        Raises:
            NotFound: no such model or version.
            Conflict: a deployment serves it or an alias points at it.
        """
        principal.require(Permission.MODELS_WRITE)

        def work(records: CatalogRecords) -> None:
            version = the_version(records, name, number)
            deployments = records.models.deployments_of(name, number)
            if deployments:
                raise Conflict(
                    f"Version {version.ref} is served by deployment '{deployments[0]}'; take its "
                    "traffic away first.",
                    param="version",
                )
            pointing = [
                one.name for one in records.aliases.all(name) if one.version_number == number
            ]
            if pointing:
                raise Conflict(
                    f"Alias '{pointing[0]}' points at version {version.ref}; move or remove it "
                    "first.",
                    param="version",
                )
            records.models.delete_version(name, number)

        self._store.write(principal.tenant_id, work)

    def delete_model(self, principal: Principal, name: str) -> None:
        """Delete a model with all versions, aliases and their history.

        Raises:
            NotFound: no such model.
            Conflict: a deployment serves one of its versions.
        """
        principal.require(Permission.MODELS_WRITE)

        def work(records: CatalogRecords) -> None:
            the_model(records, name)
            deployments = records.models.deployments_of(name)
            if deployments:
                raise Conflict(
                    f"Model '{name}' is served by deployment '{deployments[0]}'; undeploy it "
                    "first.",
                    param="model",
                )
            for alias in records.aliases.all(name):
                records.aliases.delete(name, alias.name)
            for version in records.models.list_versions(name):
                records.models.delete_version(name, version.number)
            records.models.delete(name)

        self._store.write(principal.tenant_id, work)


def _summary(records: CatalogRecords, model: Model) -> ModelSummary:
    return ModelSummary(
        model,
        records.models.newest_version(model.name),
        tuple(records.aliases.all(model.name)),
    )
