"""`/recipes`, `/training` and where versions come from."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from modelry.domain import lineage as domain
from modelry.domain.access import Permission
from modelry.domain.jobs import MAX_DEPENDENCIES, MAX_PRIORITY, MAX_RETRIES
from modelry.protocols.management.auditing import note
from modelry.protocols.management.job_shapes import JobId, JobShape
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Training
from modelry.protocols.management.shapes import (
    Answer,
    Body,
    Moment,
    Name,
    NumberInPath,
    ShortText,
)
from modelry.services.jobs.submission import MAX_NAME_CHARS
from modelry.services.training.order import MAX_BASE_FILES, MAX_SEED, MAX_THREADS
from modelry.services.training.search_order import MAX_TRIALS
from modelry.services.training.search_space import MAX_PARAMETERS
from modelry.services.training.service import Queueing
from modelry.training.contract import Recipe

Reference = Annotated[str, Field(min_length=1, max_length=200)]
Seed = Annotated[int, Field(strict=True, ge=0, le=MAX_SEED)]
Threads = Annotated[int, Field(strict=True, ge=1, le=MAX_THREADS)]

router = managed_router("training")


class RecipeShape(Answer):
    """A way to train; `parameters` is a JSON schema with descriptions, bounds and defaults."""

    name: str
    summary: str
    tasks: list[str]
    parameters: dict[str, Any]

    @classmethod
    def of(cls, recipe: Recipe) -> RecipeShape:
        """The shape of `recipe`."""
        return cls(
            name=recipe.name,
            summary=recipe.summary,
            tasks=list(recipe.tasks),
            parameters=recipe.parameters.model_json_schema(),
        )


class RecipeList(Answer):
    """All recipes, by name."""

    recipes: list[RecipeShape]


class BaseFile(Body):
    """An uploaded file to begin from, and what it is called."""

    digest: Reference
    name: Annotated[str, Field(min_length=1, max_length=255)]


class QueueingBody(Body):
    """How a job stands in the queue: see the fields of `/jobs`."""

    job_name: Annotated[str, Field(max_length=MAX_NAME_CHARS)] = ""
    priority: Annotated[int, Field(strict=True, ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    after: Annotated[list[JobId], Field(max_length=MAX_DEPENDENCIES)] = Field(default_factory=list)
    not_before: Moment | None = None
    retries: Annotated[int, Field(strict=True, ge=0, le=MAX_RETRIES)] | None = None

    def queueing(self) -> Queueing:
        """As the service takes it."""
        return Queueing(
            self.job_name, self.priority, tuple(self.after), self.not_before, self.retries
        )


class TrainingOrder(Body):
    """What to train, on what.

    `dataset` and `base` are `name` (the newest) or `name@3`. `parameters` are the recipe's; what is
    left out has its default. All randomness follows from `seed`. `base` is a version to train
    further, `base_files` are uploaded files to begin from, by role. `threads`: how many compute.
    """

    recipe: Reference
    dataset: Reference
    model: Name
    parameters: dict[str, Any] = Field(default_factory=dict)
    seed: Seed = 0
    base: Reference | None = None
    base_files: Annotated[dict[str, BaseFile], Field(max_length=MAX_BASE_FILES)] | None = None
    threads: Threads | None = None

    def order(self) -> dict[str, Any]:
        """The parameters of the job."""
        own = set(TrainingOrder.model_fields)
        return self.model_dump(mode="json", include=own, exclude_none=True)


class TrainingBody(QueueingBody, TrainingOrder):
    """What to train, on what, and how it stands in the queue."""


class SearchBody(QueueingBody):
    """What to train, and which parameters to try.

    `space` has values by parameter: a list of choices, or `{"low": 1e-4, "high": 0.1}` with `log`
    or `step`; the recipe's other parameters are those of `training`. `metric` names the curve that
    tells how good a trial is, and `goal` whether it should rise. With `prune` trials that do worse
    than half of the others are ended early; with `register` the best parameters are trained once
    more, and a version comes of it.
    """

    training: TrainingOrder
    space: Annotated[dict[str, Any], Field(min_length=1, max_length=MAX_PARAMETERS)]
    metric: ShortText
    trials: Annotated[int, Field(strict=True, ge=1, le=MAX_TRIALS)] = 20
    goal: Literal["minimize", "maximize"] | None = None
    prune: bool = True
    register_best: Annotated[bool, Field(alias="register")] = True

    def order(self) -> dict[str, Any]:
        """The parameters of the job."""
        told: dict[str, Any] = {
            "training": self.training.order(),
            "space": self.space,
            "metric": self.metric,
            "trials": self.trials,
            "prune": self.prune,
            "register": self.register_best,
        }
        return told if self.goal is None else {**told, "goal": self.goal}


class LineageShape(Answer):
    """Where a version comes from: all that it takes to train it again.

    `environment` tells code, Python, libraries and machine of the process that trained it.
    """

    ref: str
    model: str
    version: int
    job_id: str
    recipe: str
    parameters: dict[str, Any]
    seed: int
    dataset: str
    dataset_digest: str
    base: str
    base_files: dict[str, dict[str, str]]
    threads: int | None
    weights_digest: str
    metrics: dict[str, float]
    parity: dict[str, Any]
    environment: dict[str, Any]
    created_at: datetime
    created_by: str

    @classmethod
    def of(cls, lineage: domain.Lineage) -> LineageShape:
        """The shape of `lineage`."""
        named = {"ref": lineage.ref, "model": lineage.model_name, "version": lineage.number}
        return cls(
            **named,
            **{name: getattr(lineage, name) for name in cls.model_fields if name not in named},
        )


@router.get("/recipes", summary="List recipes", openapi_extra=needs(Permission.JOBS_READ))
def list_recipes(caller: Caller, training: Training) -> RecipeList:
    """Ways to train, with their parameters."""
    return RecipeList(recipes=[RecipeShape.of(one) for one in training.recipes(caller)])


@router.post(
    "/training",
    status_code=201,
    summary="Start to train",
    openapi_extra=needs(
        Permission.MODELS_WRITE, recorded=("recipe", "dataset", "model", "seed", "base")
    ),
)
def start_training(body: TrainingBody, caller: Caller, training: Training) -> JobShape:
    """Queues a job whose outcome names the new version; needs jobs:write and datasets:read, too."""
    return JobShape.of(training.start(caller, body.order(), body.queueing()))


@router.post(
    "/searches",
    status_code=201,
    summary="Search for better parameters",
    openapi_extra=needs(Permission.MODELS_WRITE, recorded=("metric", "trials")),
)
def start_search(body: SearchBody, caller: Caller, training: Training) -> JobShape:
    """Queues a job that trains with other parameters each time; needs jobs:write and datasets:read,
    too. Its outcome tells the trials and the best one, and names the version made of it.
    """
    job = training.search(caller, body.order(), body.queueing())
    note(job_id=job.job_id, model=body.training.model)
    return JobShape.of(job)


@router.get(
    "/models/{model}/versions/{version}/lineage",
    summary="Where a version comes from",
    openapi_extra=needs(Permission.MODELS_READ),
)
def get_lineage(
    model: str, version: NumberInPath, caller: Caller, training: Training
) -> LineageShape:
    """Job, recipe, parameters, dataset, code, libraries and machine."""
    return LineageShape.of(training.lineage(caller, f"{model}@{version}"))


@router.post(
    "/models/{model}/versions/{version}/reproduce",
    status_code=201,
    summary="Train a version again, and compare",
    openapi_extra=needs(Permission.MODELS_WRITE),
)
def reproduce(
    model: str, version: NumberInPath, body: QueueingBody, caller: Caller, training: Training
) -> JobShape:
    """Queues a job whose outcome tells whether the same came of it; registers nothing."""
    return JobShape.of(training.reproduce(caller, f"{model}@{version}", body.queueing()))
