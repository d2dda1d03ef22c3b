"""Use cases on what jobs found of versions, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Generic, TypeVar

import orjson

from modelry.domain.access import Permission, Principal
from modelry.domain.assessments import Assessment
from modelry.domain.catalog import Version
from modelry.domain.errors import NotFound
from modelry.services.catalog.contents import Contents
from modelry.services.evaluation.ports import AssessmentStore, Versions

MOST_LISTED = 500
A = TypeVar("A", bound=Assessment)
Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reported(Generic[A]):
    """An assessment with its whole report."""

    assessment: A
    report: Report


class AssessmentService(Generic[A]):
    """What was found of the versions of the caller's tenant; a subclass says what that is.

    Args:
        store: keeps assessments.
        versions: the catalogue.
        contents: keeps reports.
        kind: what one is called: `evaluation`.
    """

    def __init__(
        self, store: AssessmentStore[A], versions: Versions, contents: Contents, kind: str
    ) -> None:
        self._store = store
        self._versions = versions
        self._contents = contents
        self._kind = kind

    def of(self, principal: Principal, model: str, number: int | None) -> Sequence[A]:
        """Those of a version, or the newest of a model; newest first.

        Raises:
            NotFound: no such model version.
        """
        principal.require(Permission.MODELS_READ)
        if number is None:
            self._versions.resolve(principal, model)
            found = self._store.of_model(principal.tenant_id, model, MOST_LISTED)
        else:
            self._versions.get_version(principal, model, number)
            found = self._store.of_version(principal.tenant_id, model, number)
        return [self._shown(principal, one) for one in found]

    def get(self, principal: Principal, assessment_id: str) -> Reported[A]:
        """One of them. What its report tells of single rows needs the right to rows.

        Raises:
            NotFound: there is none of that id.
        """
        principal.require(Permission.MODELS_READ)
        return self._reported(principal, self._found(principal, assessment_id))

    def delete(self, principal: Principal, assessment_id: str) -> None:
        """Forget one.

        Raises:
            NotFound: there is none of that id.
        """
        principal.require(Permission.MODELS_WRITE)
        if not self._store.delete(principal.tenant_id, assessment_id):
            raise self._missing(assessment_id)

    # ---- for subclasses -----------------------------------------------------------------------

    def _shown(self, principal: Principal, found: A) -> A:
        """What a caller may see of an assessment."""
        del principal
        return found

    def _without_rows(self, report: Report) -> Report:
        """A report without what tells of single rows."""
        raise NotImplementedError

    def _of(self, version: Version) -> Sequence[A]:
        """Those of this very version, should its number have come again; newest first."""
        found = self._store.of_version(version.tenant_id, version.model_name, version.number)
        return [one for one in found if one.version_digest == version.digest]

    def _found(self, principal: Principal, assessment_id: str) -> A:
        found = self._store.find(principal.tenant_id, assessment_id)
        if found is None:
            raise self._missing(assessment_id)
        return found

    def _reported(self, principal: Principal, found: A) -> Reported[A]:
        with self._opened(found, found.report_digest) as file:
            report: Report = orjson.loads(file.read())
        if Permission.ROWS_READ not in principal.permissions:
            report = self._without_rows(report)
        return Reported(self._shown(principal, found), report)

    def _opened(self, found: A, digest: str) -> BinaryIO:
        opened = self._contents.open(found.tenant_id, digest, f"report of the {self._kind}")
        try:
            return opened.path.open("rb")
        finally:
            opened.close()

    def _missing(self, assessment_id: str) -> NotFound:
        return NotFound(
            f"There is no {self._kind} '{assessment_id[:80]}'.", param=f"{self._kind}_id"
        )


def newest_of_each(found: Sequence[A]) -> list[A]:
    """The newest on each split of each dataset."""
    newest: dict[tuple[str, str], A] = {}
    for one in found:
        newest.setdefault((one.dataset, one.split), one)
    return list(newest.values())
