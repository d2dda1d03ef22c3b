"""`/explanations`: what versions decide by, over the rows of datasets."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Response
from pydantic import Field
from starlette.responses import StreamingResponse

from modelry.domain import explanations as domain
from modelry.domain.access import Permission
from modelry.explaining.contract import MOST_CALLS
from modelry.protocols.management.assessment_shapes import Assessment, LookInto, fields_of
from modelry.protocols.management.auditing import note
from modelry.protocols.management.job_shapes import JobShape
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Explanations, Jobs
from modelry.protocols.management.shapes import Answer, NumberInPath, ShortText
from modelry.services.explanation.handler import KIND
from modelry.services.explanation.planning import MOST_SEED
from modelry.studying.contract import (
    LEAST_SECONDS,
    MOST_BACKGROUND,
    MOST_CHECKED,
    MOST_COLUMNS,
    MOST_PERMUTATIONS,
    MOST_RANDOMISATIONS,
    MOST_ROWS,
    MOST_SECONDS,
)

router = managed_router("explanations")


class DatasetExplanation(Assessment):
    """What a version was found to decide by, on one split of a dataset.

    `sentence` is empty for texts where the caller may not see rows.
    """

    explanation_id: str
    task: str
    method: str
    sentence: str

    @classmethod
    def of(cls, one: domain.DatasetExplanation) -> DatasetExplanation:
        """The shape of `one`."""
        return cls(**_fields(one))


class ExplanationReport(DatasetExplanation):
    """With all that there is to tell: importance, classes, confusions, slices, trust, ...

    Prototypes, examples, curves of single rows and words of texts are told to those alone who may
    see rows.
    """

    report: dict[str, Any]


class ExplanationList(Answer):
    """Explanations, newest first."""

    explanations: list[DatasetExplanation]


class ExplainBody(LookInto):
    """What to explain on what.

    `split` is by default `test`, else `validation`, else the only one. `rows` are drawn from it;
    of `checked` of them it is measured how far the explanation can be trusted. `method`, `target`,
    `calls` and `seed` are as for one explanation. `slices` are columns by whose values is told
    apart what counts. Of tables, `background` rows stand for what is usual, each column is
    shuffled `permutations` times, and `dependence` names columns whose partial dependence is
    told. `randomisations` is in how many steps the weights are drawn anew, to see whether the
    explanations depend on them. After `seconds` the report is made of what there is by then.
    """

    rows: Annotated[int, Field(strict=True, ge=1, le=MOST_ROWS)] | None = None
    checked: Annotated[int, Field(strict=True, ge=0, le=MOST_CHECKED)] | None = None
    method: ShortText | None = None
    target: ShortText | None = None
    calls: Annotated[int, Field(strict=True, ge=2, le=MOST_CALLS)] | None = None
    seed: Annotated[int, Field(strict=True, ge=0, le=MOST_SEED)] | None = None
    background: Annotated[int, Field(strict=True, ge=1, le=MOST_BACKGROUND)] | None = None
    permutations: Annotated[int, Field(strict=True, ge=0, le=MOST_PERMUTATIONS)] | None = None
    dependence: Annotated[list[ShortText] | None, Field(max_length=MOST_COLUMNS)] = None
    randomisations: Annotated[int, Field(strict=True, ge=0, le=MOST_RANDOMISATIONS)] | None = None
    seconds: Annotated[float, Field(strict=True, ge=LEAST_SECONDS, le=MOST_SECONDS)] | None = None


@router.post(
    "/explanations",
    status_code=201,
    summary="Explain a version on a dataset",
    openapi_extra=needs(Permission.MODELS_WRITE, recorded=("version", "dataset", "split")),
)
def explain_dataset(body: ExplainBody, caller: Caller, jobs: Jobs) -> JobShape:
    """As a job, through an engine of its own; needs the rights to jobs and datasets, too."""
    parameters = body.model_dump(exclude_none=True)
    job = jobs.submit(caller, KIND, parameters, name=f"explain {body.version}")
    note(job_id=job.job_id)
    return JobShape.of(job)


@router.get(
    "/explanations/{explanation_id}",
    summary="Explanations of a dataset, with their report",
    openapi_extra=needs(Permission.MODELS_READ),
)
def get_explanation(
    explanation_id: str, caller: Caller, explanations: Explanations
) -> ExplanationReport:
    """Their id is that of the job that made them."""
    found = explanations.get(caller, explanation_id)
    return ExplanationReport(**_fields(found.assessment), report=found.report)


@router.get(
    "/explanations/{explanation_id}/rows",
    summary="The explanation of each row",
    response_class=Response,
    responses={200: {"content": {"application/jsonl": {"schema": {"type": "string"}}}}},
    openapi_extra=needs(Permission.ROWS_READ),
)
def get_explained_rows(explanation_id: str, caller: Caller, explanations: Explanations) -> Response:
    """A line of JSON for each row: its place in the split, answer, label, attribution."""
    pieces = explanations.rows(caller, explanation_id)
    return StreamingResponse(pieces, media_type="application/jsonl")


@router.delete(
    "/explanations/{explanation_id}",
    status_code=204,
    response_class=Response,
    summary="Forget explanations",
    openapi_extra=needs(Permission.MODELS_WRITE),
)
def delete_explanation(explanation_id: str, caller: Caller, explanations: Explanations) -> Response:
    """The version stays."""
    explanations.delete(caller, explanation_id)
    return Response(status_code=204)


@router.get(
    "/models/{model}/explanations",
    summary="The explanations of a model",
    openapi_extra=needs(Permission.MODELS_READ),
)
def list_model_explanations(
    model: str, caller: Caller, explanations: Explanations
) -> ExplanationList:
    """The newest of all its versions."""
    found = explanations.of(caller, model, None)
    return ExplanationList(explanations=[DatasetExplanation.of(one) for one in found])


@router.get(
    "/models/{model}/versions/{version}/explanations",
    summary="The explanations of a version",
    openapi_extra=needs(Permission.MODELS_READ),
)
def list_version_explanations(
    model: str, version: NumberInPath, caller: Caller, explanations: Explanations
) -> ExplanationList:
    """All of them."""
    found = explanations.of(caller, model, version)
    return ExplanationList(explanations=[DatasetExplanation.of(one) for one in found])


def _fields(one: domain.DatasetExplanation) -> dict[str, Any]:
    own = {name: getattr(one, name) for name in ("explanation_id", "task", "method", "sentence")}
    return {**fields_of(one), **own}
