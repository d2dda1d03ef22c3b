"""Use cases on evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import Version
from modelry.domain.errors import InvalidInput, NotFound
from modelry.domain.evaluations import Evaluation
from modelry.services.catalog.contents import Contents
from modelry.services.evaluation.comparison import Comparison, compared
from modelry.services.evaluation.model_card import model_card
from modelry.services.evaluation.ports import CardPart, EvaluationStore, Versions

MOST_LISTED = 500


@dataclass(frozen=True, slots=True)
class Reported:
    """An evaluation with its whole report."""

    evaluation: Evaluation
    report: dict[str, Any]


class EvaluationService:
    """What was measured of the versions of the caller's tenant.

    Args:
        store: keeps evaluations.
        versions: the catalogue.
        contents: keeps reports.
        more: what else model cards tell.
    """

    def __init__(
        self,
        store: EvaluationStore,
        versions: Versions,
        contents: Contents,
        more: Sequence[CardPart] = (),
    ) -> None:
        self._store = store
        self._more = more
        self._versions = versions
        self._contents = contents

    def of(self, principal: Principal, model: str, number: int | None) -> Sequence[Evaluation]:
        """The evaluations of a version, or the newest of a model; newest first.

        Raises:
            NotFound: no such model version.
        """
        principal.require(Permission.MODELS_READ)
        if number is None:
            self._versions.resolve(principal, model)
            return self._store.of_model(principal.tenant_id, model, MOST_LISTED)
        self._versions.get_version(principal, model, number)
        return self._store.of_version(principal.tenant_id, model, number)

    def get(self, principal: Principal, evaluation_id: str) -> Reported:
        """One evaluation.

        Its worst answers name rows and tell their labels, so that they need the right to rows;
        without it they are left out.

        Raises:
            NotFound: there is none of that id.
        """
        principal.require(Permission.MODELS_READ)
        found = self._store.find(principal.tenant_id, evaluation_id)
        if found is None:
            raise NotFound(
                f"Evaluation '{evaluation_id[:80]}' does not exist.", param="evaluation_id"
            )
        report = self._report(found)
        if Permission.ROWS_READ not in principal.permissions:
            report.pop("worst", None)
        return Reported(found, report)

    def delete(self, principal: Principal, evaluation_id: str) -> None:
        """Forget an evaluation.

        Raises:
            NotFound: there is none of that id.
        """
        principal.require(Permission.MODELS_WRITE)
        if not self._store.delete(principal.tenant_id, evaluation_id):
            raise NotFound(
                f"Evaluation '{evaluation_id[:80]}' does not exist.", param="evaluation_id"
            )

    def compare(self, principal: Principal, references: Sequence[str]) -> Comparison:
        """The metrics of some versions on what all of them were measured on.

        Raises:
            NotFound: no such version.
            InvalidInput: fewer than two.
        """
        principal.require(Permission.MODELS_READ)
        if not 2 <= len(references) <= 20:
            raise InvalidInput("Give 2 to 20 versions to compare.", param="versions")
        versions = [self._versions.resolve(principal, one) for one in references]
        return compared([(one, self._evaluations(one)) for one in versions])

    def card(self, principal: Principal, model: str, number: int) -> str:
        """The model card of a version, as Markdown with front matter.

        Raises:
            NotFound: no such model version.
        """
        principal.require(Permission.MODELS_READ)
        version = self._versions.get_version(principal, model, number)
        reports = [
            Reported(one, self._report(one)) for one in newest_of_each(self._evaluations(version))
        ]
        card = model_card(version, [(one.evaluation, one.report) for one in reports])
        more = [line for part in self._more for line in part.card_lines(principal, version)]
        return "\n".join([card, *more])

    def _evaluations(self, version: Version) -> Sequence[Evaluation]:
        return self._store.of_version(version.tenant_id, version.model_name, version.number)

    def _report(self, evaluation: Evaluation) -> dict[str, Any]:
        opened = self._contents.open(
            evaluation.tenant_id, evaluation.report_digest, "report of the evaluation"
        )
        try:
            report: dict[str, Any] = orjson.loads(opened.path.read_bytes())
        finally:
            opened.close()
        return report


def newest_of_each(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The newest evaluation on each dataset and split."""
    found: dict[tuple[str, str], Evaluation] = {}
    for one in evaluations:
        found.setdefault((one.dataset, one.split), one)
    return list(found.values())
