"""What explanations of datasets need from outside."""

from __future__ import annotations

from modelry.domain.explanations import DatasetExplanation
from modelry.services.evaluation.ports import AssessmentStore

ExplanationStore = AssessmentStore[DatasetExplanation]
