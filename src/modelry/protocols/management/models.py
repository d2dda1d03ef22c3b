"""`/models`: names with one task."""

from __future__ import annotations

from datetime import datetime

from modelry.domain.access import Permission
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Catalog
from modelry.protocols.management.shapes import Answer
from modelry.services.catalog.versions import ModelSummary

router = managed_router("models")


class Model(Answer):
    """A model: `latest_version` is None when all versions were deleted."""

    name: str
    task: str
    created_at: datetime
    latest_version: int | None
    aliases: dict[str, int]

    @classmethod
    def of(cls, summary: ModelSummary) -> Model:
        """The shape of `summary`."""
        return cls(
            name=summary.model.name,
            task=summary.model.task,
            created_at=summary.model.created_at,
            latest_version=None if summary.newest is None else summary.newest.number,
            aliases={alias.name: alias.version_number for alias in summary.aliases},
        )


class ModelList(Answer):
    """All models, by name."""

    models: list[Model]


@router.get("/models", summary="List models", openapi_extra=needs(Permission.MODELS_READ))
def list_models(caller: Caller, catalog: Catalog) -> ModelList:
    """All models of the tenant, by name."""
    return ModelList(models=[Model.of(one) for one in catalog.list_models(caller)])


@router.get("/models/{model}", summary="One model", openapi_extra=needs(Permission.MODELS_READ))
def get_model(model: str, caller: Caller, catalog: Catalog) -> Model:
    """One model."""
    return Model.of(catalog.get_model(caller, model))


@router.delete(
    "/models/{model}",
    status_code=204,
    summary="Delete a model with all its versions and aliases",
    openapi_extra=needs(Permission.MODELS_WRITE),
)
def delete_model(model: str, caller: Caller, catalog: Catalog) -> None:
    """Refused with 409 while a deployment serves one of its versions."""
    catalog.delete_model(caller, model)
