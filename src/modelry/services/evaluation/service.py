"""Use cases on evaluations."""

from __future__ import annotations

from collections.abc import Sequence

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import InvalidInput
from modelry.domain.evaluations import Evaluation
from modelry.services.catalog.contents import Contents
from modelry.services.evaluation.assessments import AssessmentService, Report, newest_of_each
from modelry.services.evaluation.comparison import Comparison, compared
from modelry.services.evaluation.model_card import model_card
from modelry.services.evaluation.ports import CardPart, EvaluationStore, Versions


class EvaluationService(AssessmentService[Evaluation]):
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
        super().__init__(store, versions, contents, "evaluation")
        self._more = more

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
        return compared([(one, self._of(one)) for one in versions])

    def card(self, principal: Principal, model: str, number: int) -> str:
        """The model card of a version, as Markdown with front matter.

        Raises:
            NotFound: no such model version.
        """
        principal.require(Permission.MODELS_READ)
        version = self._versions.get_version(principal, model, number)
        reports = [self._reported(principal, one) for one in newest_of_each(self._of(version))]
        card = model_card(version, [(one.assessment, one.report) for one in reports])
        more = [line for part in self._more for line in part.card_lines(principal, version)]
        return "\n".join([card, *more])

    def _without_rows(self, report: Report) -> Report:
        """Its worst answers name rows and tell their labels."""
        return {name: one for name, one in report.items() if name != "worst"}
