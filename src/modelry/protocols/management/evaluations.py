"""`/evaluations`: how good versions are, side by side, and on their cards."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import Field
from starlette.responses import PlainTextResponse

from modelry.domain import evaluations as domain
from modelry.domain.access import Permission
from modelry.protocols.management.assessment_shapes import (
    Assessment,
    LookInto,
    Reference,
    fields_of,
)
from modelry.protocols.management.auditing import note
from modelry.protocols.management.job_shapes import JobShape
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Evaluations, Jobs
from modelry.protocols.management.shapes import Answer, NumberInPath, ShortText
from modelry.services.evaluation import comparison
from modelry.services.evaluation.handler import KIND, MOST_BATCH_ROWS, MOST_GROUPS

router = managed_router("evaluations")


class Metric(Answer):
    """A number, and the bounds in which it lies with 95 % confidence, where they are known."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, metric: domain.Measured) -> Metric:
        """The shape of `metric`."""
        return cls(value=metric.value, low=metric.low, high=metric.high)


class Evaluation(Assessment):
    """What was measured of a version on one split of a dataset."""

    evaluation_id: str
    metrics: dict[str, Metric]
    speed: dict[str, Any]

    @classmethod
    def of(cls, one: domain.Evaluation) -> Evaluation:
        """The shape of `one`."""
        return cls(**_fields(one))


class EvaluationReport(Evaluation):
    """An evaluation with all that there is to tell: by class, by slice, the worst answers, ...

    `worst` is told to those alone who may see rows.
    """

    report: dict[str, Any]


class EvaluationList(Answer):
    """Evaluations, newest first."""

    evaluations: list[Evaluation]


class EvaluateBody(LookInto):
    """What to measure on what.

    `split` is by default `test`, else `validation`, else the only one. `slices` are columns by
    whose values the metrics are told apart. `groups` are sensitive columns: whether their groups
    get the `favourable` class equally often, and equally rightly.
    """

    groups: Annotated[list[ShortText] | None, Field(max_length=MOST_GROUPS)] = None
    favourable: ShortText | None = None
    batch_rows: Annotated[int, Field(strict=True, ge=1, le=MOST_BATCH_ROWS)] | None = None


class ComparedMetric(Answer):
    """One metric of all versions; `best` is the place of the best one among them.

    `is_clear` says that its interval overlaps with none of the others.
    """

    name: str
    values: list[Metric]
    best: int
    is_clear: bool


class ComparedSplit(Answer):
    """All versions on one split of a dataset."""

    dataset: str
    split: str
    evaluation_ids: list[str]
    metrics: list[ComparedMetric]


class Comparison(Answer):
    """Versions on the splits that all of them were measured on."""

    versions: list[str]
    splits: list[ComparedSplit]

    @classmethod
    def of(cls, found: comparison.Comparison) -> Comparison:
        """The shape of `found`."""
        return cls(
            versions=list(found.versions),
            splits=[
                ComparedSplit(
                    dataset=split.dataset,
                    split=split.split,
                    evaluation_ids=list(split.evaluation_ids),
                    metrics=[
                        ComparedMetric(
                            name=one.name,
                            values=[Metric.of(value) for value in one.values],
                            best=one.best,
                            is_clear=one.is_clear,
                        )
                        for one in split.metrics
                    ],
                )
                for split in found.splits
            ],
        )


@router.post(
    "/evaluations",
    status_code=201,
    summary="Measure a version on a dataset",
    openapi_extra=needs(Permission.MODELS_WRITE, recorded=("version", "dataset", "split")),
)
def evaluate(body: EvaluateBody, caller: Caller, jobs: Jobs) -> JobShape:
    """As a job, through an engine of its own; needs the rights to jobs and datasets, too."""
    parameters = body.model_dump(exclude_none=True)
    job = jobs.submit(caller, KIND, parameters, name=f"evaluate {body.version}")
    note(job_id=job.job_id)
    return JobShape.of(job)


@router.get(
    "/evaluations/{evaluation_id}",
    summary="One evaluation with its report",
    openapi_extra=needs(Permission.MODELS_READ),
)
def get_evaluation(
    evaluation_id: str, caller: Caller, evaluations: Evaluations
) -> EvaluationReport:
    """Its id is that of the job that made it."""
    found = evaluations.get(caller, evaluation_id)
    return EvaluationReport(**_fields(found.assessment), report=found.report)


@router.delete(
    "/evaluations/{evaluation_id}",
    status_code=204,
    response_class=Response,
    summary="Forget an evaluation",
    openapi_extra=needs(Permission.MODELS_WRITE),
)
def delete_evaluation(evaluation_id: str, caller: Caller, evaluations: Evaluations) -> Response:
    """The version stays."""
    evaluations.delete(caller, evaluation_id)
    return Response(status_code=204)


@router.get(
    "/models/{model}/evaluations",
    summary="The evaluations of a model",
    openapi_extra=needs(Permission.MODELS_READ),
)
def list_model_evaluations(model: str, caller: Caller, evaluations: Evaluations) -> EvaluationList:
    """The newest of all its versions."""
    found = evaluations.of(caller, model, None)
    return EvaluationList(evaluations=[Evaluation.of(one) for one in found])


@router.get(
    "/models/{model}/versions/{version}/evaluations",
    summary="The evaluations of a version",
    openapi_extra=needs(Permission.MODELS_READ),
)
def list_version_evaluations(
    model: str, version: NumberInPath, caller: Caller, evaluations: Evaluations
) -> EvaluationList:
    """All of them."""
    found = evaluations.of(caller, model, version)
    return EvaluationList(evaluations=[Evaluation.of(one) for one in found])


@router.get(
    "/models/{model}/versions/{version}/card",
    summary="The model card of a version",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/markdown": {"schema": {"type": "string"}}}}},
    openapi_extra=needs(Permission.MODELS_READ),
)
def get_model_card(
    model: str, version: NumberInPath, caller: Caller, evaluations: Evaluations
) -> Response:
    """Markdown with front matter that model hubs read."""
    card = evaluations.card(caller, model, version)
    return PlainTextResponse(card, media_type="text/markdown")


@router.get(
    "/comparisons",
    summary="Versions side by side",
    openapi_extra=needs(Permission.MODELS_READ),
)
def compare_versions(
    caller: Caller,
    evaluations: Evaluations,
    version: Annotated[list[Reference], Query(min_length=2, max_length=20)],
) -> Comparison:
    """By their newest evaluations on the same rows."""
    return Comparison.of(evaluations.compare(caller, version))


def _fields(one: domain.Evaluation) -> dict[str, Any]:
    return {
        **fields_of(one),
        "evaluation_id": one.evaluation_id,
        "metrics": {name: Metric.of(metric) for name, metric in one.metrics.items()},
        "speed": dict(one.speed),
    }
