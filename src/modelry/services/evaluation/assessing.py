"""What jobs that look at a version on a split have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from modelry.domain.access import Permission, Principal
from modelry.domain.assessments import Assessment
from modelry.domain.catalog import Version
from modelry.domain.datasets import DatasetVersion, Split
from modelry.domain.errors import PayloadTooLarge, WorkFailed
from modelry.runtime_api.work import WorkLimits, Works
from modelry.services.catalog.contents import Contents
from modelry.services.evaluation.asked import the_split, word_in
from modelry.services.evaluation.engines import EngineLoader
from modelry.services.evaluation.ports import AssessmentStore, Datasets, Versions
from modelry.services.jobs.handlers import JobRun, Json
from modelry.services.jobs.handoff import VERSION, VERSION_OF, check_one_is_named, version_meant

MOST_REPORT_BYTES = 2**26
"""Reports are read as a whole in the server; what work tells of hostile rows is not trusted."""
A = TypeVar("A", bound=Assessment)


class Subject(NamedTuple):
    """What is looked at, on which rows."""

    version: Version
    dataset: DatasetVersion
    split: Split


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(kw_only=True)
class Assessing(Generic[A]):
    """The half of such a `JobHandler` that is the same for all kinds.

    Attributes:
        store: keeps what was found.
        versions: the catalogue.
        datasets: the datasets.
        contents: keep reports.
        engines: loads versions.
        works: runs the work.
        limits: what that may use, in one thread.
        clock: gives the time.
    """

    store: AssessmentStore[A]
    versions: Versions
    datasets: Datasets
    contents: Contents
    engines: EngineLoader
    works: Works
    limits: WorkLimits = field(default_factory=WorkLimits)
    clock: Callable[[], datetime] = _now

    def __post_init__(self) -> None:
        self.limits = replace(self.limits, threads=1)

    def _checked(
        self,
        principal: Principal,
        parameters: Json,
        check: Callable[[Subject], object],
    ) -> dict[str, Any]:
        """Version, dataset and split of a job, pinned.

        Args:
            principal: who asks.
            parameters: as they were given.
            check: sees that they suit each other, if the version is there already.

        Raises:
            NotFound: no such version, dataset or split.
            InvalidInput: one is not named as it must be.
            ModelryError: what `check` raises.
        """
        principal.require(Permission.MODELS_WRITE)
        principal.require(Permission.DATASETS_READ)
        reference = check_one_is_named(parameters)
        dataset = self.datasets.find(principal, word_in(parameters, "dataset"))
        split = the_split(dataset, parameters.get("split"))
        which = {VERSION_OF: parameters.get(VERSION_OF)}
        if reference is not None:
            version = self.versions.resolve(principal, reference)
            check(Subject(version, dataset, split))
            which = {VERSION: version.ref}
        return {**which, "dataset": dataset.ref, "split": split.name}

    def _meant(self, run: JobRun) -> Subject:
        """What a job that was checked looks at."""
        version = self.versions.resolve(run.principal, version_meant(run))
        dataset = self.datasets.find(run.principal, run.parameters["dataset"])
        return Subject(version, dataset, the_split(dataset, run.parameters["split"]))

    def _common(
        self, run: JobRun, subject: Subject, outcome: Json, report_digest: str | None
    ) -> dict[str, Any]:
        """The fields that all assessments have.

        Raises:
            WorkFailed: the work ended without a report.
        """
        if report_digest is None:
            raise WorkFailed("The work ended without a report.")
        version, dataset, split = subject
        return {
            "tenant_id": version.tenant_id,
            "model_name": version.model_name,
            "version_number": version.number,
            "version_digest": version.digest,
            "dataset": dataset.ref,
            "dataset_digest": dataset.digest,
            "split": split.name,
            "rows": int(outcome["rows"]),
            "report_digest": report_digest,
            "job_id": run.job_id,
            "created_at": self.clock(),
            "created_by": run.principal.key_id,
        }


def check_report(file: Path) -> None:
    """Refuse a report that the server could not read.

    Raises:
        PayloadTooLarge: it is longer than any is.
    """
    size = file.stat().st_size
    if size > MOST_REPORT_BYTES:
        raise PayloadTooLarge(
            f"The report has {size >> 20} MiB; at most {MOST_REPORT_BYTES >> 20} MiB are kept. "
            "Name fewer slices, groups or columns."
        )
