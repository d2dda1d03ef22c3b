"""`/datasets`: rows, their versions, and the jobs that make them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from modelry.domain.access import Permission
from modelry.protocols.management.auditing import note
from modelry.protocols.management.dataset_shapes import (
    Dataset,
    DatasetList,
    DatasetVersion,
    DatasetVersionDetails,
    DatasetVersionList,
    DeriveBody,
    ImportBody,
    Rows,
)
from modelry.protocols.management.job_shapes import JobShape
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import All, Caller, Datasets, Jobs
from modelry.protocols.management.shapes import NumberInPath
from modelry.services.datasets.deriving import DeriveHandler
from modelry.services.datasets.importing import ImportHandler
from modelry.services.datasets.previewing import MAX_ROWS, RowsAsked

router = managed_router("datasets")

MAX_OFFSET = 2**48


@router.get("/datasets", summary="List datasets", openapi_extra=needs(Permission.DATASETS_READ))
def list_datasets(caller: Caller, datasets: Datasets) -> DatasetList:
    """With their newest versions, by name."""
    return DatasetList(datasets=[Dataset.of(one) for one in datasets.all(caller)])


@router.get(
    "/datasets/{dataset}", summary="One dataset", openapi_extra=needs(Permission.DATASETS_READ)
)
def get_dataset(dataset: str, caller: Caller, datasets: Datasets) -> Dataset:
    """With its newest version."""
    return Dataset.of(datasets.get(caller, dataset))


@router.delete(
    "/datasets/{dataset}",
    status_code=204,
    summary="Delete a dataset with all its versions",
    openapi_extra=needs(Permission.DATASETS_WRITE),
)
def delete_dataset(dataset: str, caller: Caller, datasets: Datasets) -> None:
    """Refused with 409 while a job needs one of its versions."""
    datasets.delete(caller, dataset)


@router.post(
    "/datasets/{dataset}/imports",
    status_code=201,
    summary="Import files into a dataset",
    openapi_extra=needs(Permission.DATASETS_WRITE, recorded=("format", "priority")),
)
def import_dataset(
    dataset: str, body: ImportBody, caller: Caller, datasets: Datasets, jobs: Jobs
) -> JobShape:
    """A job, whose outcome tells the version; the dataset is made if there is none of that name.

    Files are sent as uploads before. The same rows under the same name are the same version.
    """
    datasets.check_may_make(caller)
    parameters = body.model_dump(mode="json", exclude={"priority"})
    job = jobs.submit(
        caller,
        ImportHandler.kind,
        {"name": dataset, **parameters},
        name=dataset,
        priority=body.priority,
    )
    note(job_id=job.job_id)
    return JobShape.of(job)


@router.post(
    "/datasets/{dataset}/derivations",
    status_code=201,
    summary="Make a version of other versions",
    openapi_extra=needs(Permission.DATASETS_WRITE, recorded=("sources", "priority")),
)
def derive_dataset(
    dataset: str, body: DeriveBody, caller: Caller, datasets: Datasets, jobs: Jobs
) -> JobShape:
    """A job, whose outcome tells the version; `dataset` names what is made."""
    datasets.check_may_make(caller)
    job = jobs.submit(
        caller,
        DeriveHandler.kind,
        {"name": dataset, "from": list(body.sources), "steps": list(body.steps)},
        name=dataset,
        priority=body.priority,
    )
    note(job_id=job.job_id)
    return JobShape.of(job)


@router.get(
    "/datasets/{dataset}/versions",
    summary="List versions of a dataset",
    openapi_extra=needs(Permission.DATASETS_READ),
)
def list_dataset_versions(dataset: str, caller: Caller, datasets: Datasets) -> DatasetVersionList:
    """Newest first."""
    found = datasets.versions(caller, dataset)
    return DatasetVersionList(versions=[DatasetVersion.of(one) for one in found])


@router.get(
    "/datasets/{dataset}/versions/{version}",
    summary="One version of a dataset",
    openapi_extra=needs(Permission.DATASETS_READ),
)
def get_dataset_version(
    dataset: str, version: NumberInPath, caller: Caller, datasets: Datasets
) -> DatasetVersionDetails:
    """With its statistics, its report and its origin."""
    return DatasetVersionDetails.of(datasets.find(caller, f"{dataset}@{version}"))


@router.delete(
    "/datasets/{dataset}/versions/{version}",
    status_code=204,
    summary="Delete a version of a dataset",
    openapi_extra=needs(Permission.DATASETS_WRITE),
)
def delete_dataset_version(
    dataset: str, version: NumberInPath, caller: Caller, datasets: Datasets
) -> None:
    """Its number is not given again; refused with 409 while a job needs it."""
    datasets.delete_version(caller, dataset, version)


@router.get(
    "/datasets/{dataset}/versions/{version}/rows",
    summary="Rows of a version",
    openapi_extra=needs(Permission.ROWS_READ, audited=True),
)
async def read_dataset_rows(
    *,
    dataset: str,
    version: NumberInPath,
    caller: Caller,
    services: All,
    split: Annotated[str | None, Query(max_length=64)] = None,
    offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 20,
    column: Annotated[list[str] | None, Query(max_length=1000)] = None,
    max_value_bytes: Annotated[int, Query(ge=0, le=8 * 2**20)] = 64 * 1024,
) -> Rows:
    """Of the first split by default; they are read in a process of their own, so it takes a second.

    `column` may be repeated. A longer text, image or tensor than `max_value_bytes` is told by its
    size alone.
    """
    asked = RowsAsked(split, offset, limit, column, max_value_bytes)
    found = await services.row_threads.run(
        lambda: services.datasets.rows(caller, f"{dataset}@{version}", asked)
    )
    return Rows.of(found)
