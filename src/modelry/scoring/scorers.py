"""Which scorer scores a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modelry.domain.datasets import ColumnRole, ColumnType
from modelry.domain.errors import InvalidInput, NotSupported
from modelry.scoring.boxes import BoxScorer
from modelry.scoring.classes import LabelScorer, TensorClassScorer
from modelry.scoring.columns import is_class, one_column
from modelry.scoring.contract import Scorer, Subject
from modelry.scoring.questions import image_items, row_items, text_items
from modelry.scoring.texts import TextScorer
from modelry.scoring.values import ValueScorer


def scorer_for(subject: Subject) -> Scorer:
    """What scores a version of this task.

    Raises:
        NotSupported: nothing does.
        InvalidInput: the dataset lacks what would be needed; says which column.
    """
    make = _SCORERS.get(subject.task)
    if make is None:
        raise NotSupported(
            f"Versions of the task '{subject.task}' cannot be evaluated; those of "
            f"{', '.join(sorted(_SCORERS))} can.",
            param="version",
        )
    return make(subject)


def _of_table(subject: Subject) -> Scorer:
    label = one_column(subject, ColumnRole.LABEL)
    has_classes = subject.answers_classes if subject.steps else is_class(label)
    if has_classes and label.type is ColumnType.NUMBER:
        raise InvalidInput(
            f"The version answers with classes; the label '{label.name}' has numbers. Derive a "
            "version of the dataset whose label is a text or a whole number.",
            param="dataset",
        )
    if not has_classes and is_class(label):
        raise InvalidInput(
            f"The version answers with numbers; the label '{label.name}' names classes.",
            param="dataset",
        )
    scorer = LabelScorer if has_classes else ValueScorer
    return scorer(subject, row_items(subject))


def _of_tensors(subject: Subject) -> Scorer:
    label = one_column(subject, ColumnRole.LABEL)
    features = [
        one for one in subject.schema.with_role(ColumnRole.FEATURE) if one.type is ColumnType.TENSOR
    ]
    if len(features) != len(subject.inputs):
        taken = ", ".join(name for name, _ in subject.inputs)
        raise InvalidInput(
            f"The version takes {len(subject.inputs)} tensor(s) ({taken}); the dataset has "
            f"{len(features)} feature(s) of the type 'tensor'.",
            param="dataset",
        )
    if label.type is ColumnType.NUMBER:
        raise NotSupported(
            "Versions that take tensors are evaluated as classifiers: the label must be a class "
            "or a whole number.",
            param="dataset",
        )
    return TensorClassScorer(subject, features, label)


_SCORERS: Mapping[str, Callable[[Subject], Scorer]] = {
    "image-classification": lambda subject: LabelScorer(subject, image_items(subject)),
    "text-classification": lambda subject: LabelScorer(subject, text_items(subject)),
    "object-detection": BoxScorer,
    "tabular": _of_table,
    "tensor": _of_tensors,
    "translation": TextScorer,
    "summarization": TextScorer,
}
