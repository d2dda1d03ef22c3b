"""Use cases on explanations of datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import Version
from modelry.domain.explanations import DatasetExplanation
from modelry.services.catalog.contents import Contents
from modelry.services.evaluation.assessments import AssessmentService, Report, newest_of_each
from modelry.services.evaluation.ports import Versions
from modelry.services.explanation.card import explained_lines
from modelry.services.explanation.ports import ExplanationStore

_PIECE_BYTES = 2**20
_TEXT = "text"


class ExplanationService(AssessmentService[DatasetExplanation]):
    """What versions of the caller's tenant were found to decide by.

    Reports name rows, words of texts and curves of single rows: those need the right to rows, and
    are left out without it.

    Args:
        store: keeps what was found.
        versions: the catalogue.
        contents: keeps reports and rows.
    """

    def __init__(self, store: ExplanationStore, versions: Versions, contents: Contents) -> None:
        super().__init__(store, versions, contents, "explanation")

    def rows(self, principal: Principal, explanation_id: str) -> Iterator[bytes]:
        """The explanation of each row, as lines of JSON, in pieces.

        Raises:
            NotFound: there is none of that id.
        """
        principal.require(Permission.ROWS_READ)
        found = self._found(principal, explanation_id)
        return _pieces(self._opened(found, found.rows_digest))

    def card_lines(self, principal: Principal, version: Version) -> Sequence[str]:
        """See `evaluation.ports.CardPart`: the newest on each split of each dataset."""
        seen = [self._reported(principal, one) for one in newest_of_each(self._of(version))]
        return explained_lines([(one.assessment, one.report) for one in seen])

    def _shown(self, principal: Principal, found: DatasetExplanation) -> DatasetExplanation:
        """Without its sentence, where that has words of rows that the caller may not see."""
        if Permission.ROWS_READ in principal.permissions or not found.task.startswith(_TEXT):
            return found
        return replace(found, sentence="")

    def _without_rows(self, report: Report) -> Report:
        return without_rows(report)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


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
