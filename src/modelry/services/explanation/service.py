"""Use cases on explanations of datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import Version
from modelry.domain.errors import NotFound
from modelry.domain.explanations import DatasetExplanation
from modelry.services.catalog.contents import Contents
from modelry.services.evaluation.ports import Versions
from modelry.services.explanation.card import explained_lines
from modelry.services.explanation.ports import ExplanationStore

MOST_LISTED = 500
_TEXT = "text"


@dataclass(frozen=True, slots=True)
class Explained:
    """Explanations of a dataset with their whole report."""

    explanation: DatasetExplanation
    report: dict[str, Any]


class ExplanationService:
    """What versions of the caller's tenant were found to decide by.

    Reports name rows, words of texts and curves of single rows: those need the right to rows, and
    are left out without it.

    Args:
        store: keeps what was found.
        versions: the catalogue.
        contents: keeps reports and rows.
    """

    def __init__(self, store: ExplanationStore, versions: Versions, contents: Contents) -> None:
        self._store = store
        self._versions = versions
        self._contents = contents

    def of(
        self, principal: Principal, model: str, number: int | None
    ) -> Sequence[DatasetExplanation]:
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
        return [_told_to(principal, one) for one in found]

    def get(self, principal: Principal, explanation_id: str) -> Explained:
        """One of them.

        Raises:
            NotFound: there is none of that id.
        """
        principal.require(Permission.MODELS_READ)
        return self._seen(principal, self._found(principal, explanation_id))

    def rows(self, principal: Principal, explanation_id: str) -> bytes:
        """The explanation of each row, as lines of JSON.

        Raises:
            NotFound: there is none of that id.
        """
        principal.require(Permission.ROWS_READ)
        found = self._found(principal, explanation_id)
        return self._content(found, found.rows_digest, "explanations of the rows")

    def delete(self, principal: Principal, explanation_id: str) -> None:
        """Forget one.

        Raises:
            NotFound: there is none of that id.
        """
        principal.require(Permission.MODELS_WRITE)
        if not self._store.delete(principal.tenant_id, explanation_id):
            raise _missing(explanation_id)

    def card_lines(self, principal: Principal, version: Version) -> Sequence[str]:
        """See `evaluation.ports.CardPart`: the newest on each split of each dataset."""
        newest: dict[tuple[str, str], DatasetExplanation] = {}
        found = self._store.of_version(version.tenant_id, version.model_name, version.number)
        for one in found:
            if one.version_digest == version.digest:
                newest.setdefault((one.dataset, one.split), one)
        seen = [self._seen(principal, one) for one in newest.values()]
        return explained_lines([(one.explanation, one.report) for one in seen])

    def _found(self, principal: Principal, explanation_id: str) -> DatasetExplanation:
        found = self._store.find(principal.tenant_id, explanation_id)
        if found is None:
            raise _missing(explanation_id)
        return found

    def _seen(self, principal: Principal, found: DatasetExplanation) -> Explained:
        content = self._content(found, found.report_digest, "report of the explanations")
        report: dict[str, Any] = orjson.loads(content)
        if Permission.ROWS_READ not in principal.permissions:
            report = without_rows(report)
        return Explained(_told_to(principal, found), report)

    def _content(self, found: DatasetExplanation, digest: str, name: str) -> bytes:
        opened = self._contents.open(found.tenant_id, digest, name)
        try:
            return opened.path.read_bytes()
        finally:
            opened.close()


def _told_to(principal: Principal, found: DatasetExplanation) -> DatasetExplanation:
    """Without its sentence, where that has words of rows that the caller may not see."""
    if Permission.ROWS_READ in principal.permissions or not found.task.startswith(_TEXT):
        return found
    return replace(found, sentence="")


def without_rows(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what tells of single rows, or has words of theirs."""
    hidden = {"prototypes", "examples", "curves"}
    if (report.get("importance") or {}).get("kind") == _TEXT:
        hidden |= {"parts", "sentence"}
    told: dict[str, Any] = _without(report, hidden)
    return told


def _without(value: Any, hidden: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(one, hidden) for name, one in value.items() if name not in hidden}
    if isinstance(value, list):
        return [_without(one, hidden) for one in value]
    return value


def _missing(explanation_id: str) -> NotFound:
    return NotFound(f"Explanations '{explanation_id[:80]}' do not exist.", param="explanation_id")
