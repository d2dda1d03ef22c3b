"""What can be asked for: how rows are shared out, and how a version is made of others.

Read by the server before a job is queued, so this module imports nothing that reads rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from modelry.datasets.expressions import MAX_CHARS, parse
from modelry.domain.datasets import ColumnRole, ColumnType
from modelry.domain.errors import InvalidInput

MAX_SPLITS = 16
MAX_STEPS = 32
SPLIT_PATTERN = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?"

SplitName = Annotated[str, Field(max_length=64, pattern=f"^{SPLIT_PATTERN}$")]
ColumnName = Annotated[str, Field(min_length=1, max_length=200)]

_SPLIT_NAME = re.compile(SPLIT_PATTERN)


def check_split_name(name: str) -> str:
    """`name`, which may name a split.

    Raises:
        InvalidInput: it may not.
    """
    if not _SPLIT_NAME.fullmatch(name):
        raise InvalidInput(
            f"The split name {name[:80]!r} is not allowed: use 1 to 64 letters, digits, '.', '_' "
            "or '-', beginning and ending with a letter or digit.",
            param="split",
        )
    return name


class Plan(BaseModel):
    """Base of what can be asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SplitPlan(Plan):
    """How rows without splits are shared out: by their content, so their order does not matter.

    Rows of a class with the same features come into the same split.
    """

    fractions: Annotated[
        dict[SplitName, Annotated[float, Field(gt=0, le=1)]],
        Field(
            min_length=1, max_length=MAX_SPLITS, description="The share of each split; 1 in all."
        ),
    ]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    stratify: Annotated[
        ColumnName | None,
        Field(
            description="Share out each value of this column alike; by default the label's classes."
        ),
    ] = None

    @field_validator("fractions")
    @classmethod
    def _is_a_whole(cls, value: dict[str, float]) -> dict[str, float]:
        if abs(sum(value.values()) - 1) > 1e-6:
            raise ValueError(f"the fractions add up to {sum(value.values()):g}, not to 1.")
        return value


class FilterStep(Plan):
    """Keep the rows for which an expression is true."""

    filter: Annotated[str, Field(min_length=1, max_length=MAX_CHARS)]

    @field_validator("filter")
    @classmethod
    def _can_be_read(cls, value: str) -> str:
        try:
            parse(value)
        except InvalidInput as error:
            raise ValueError(error.message) from None
        return value


class JoinStep(Plan):
    """Make one split of several, in the order told."""

    join: Annotated[list[SplitName], Field(min_length=1, max_length=MAX_SPLITS)]
    to: SplitName


class SplitStep(Plan):
    """Share out the rows of one split, or of all together."""

    split: SplitPlan
    of: SplitName | None = None


class KeepSplitsStep(Plan):
    """Keep these splits alone."""

    splits: Annotated[list[SplitName], Field(min_length=1, max_length=MAX_SPLITS)]


class RenameStep(Plan):
    """Give columns other names."""

    rename: Annotated[dict[ColumnName, ColumnName], Field(min_length=1, max_length=1000)]


class TypesStep(Plan):
    """Give columns other types; a value that cannot become one ends it."""

    types: Annotated[dict[ColumnName, ColumnType], Field(min_length=1, max_length=1000)]


class RolesStep(Plan):
    """Give columns other roles; a text that becomes a label gets its values as classes."""

    roles: Annotated[dict[ColumnName, ColumnRole], Field(min_length=1, max_length=1000)]


class ClassesStep(Plan):
    """Put a label's or boxes' classes in another order, or name other ones.

    A label's rows must have one of them; boxes keep their numbers, so only their names change.
    """

    classes: Annotated[
        dict[ColumnName, Annotated[list[str], Field(min_length=1, max_length=100_000)]],
        Field(min_length=1, max_length=100),
    ]


class DropStep(Plan):
    """Leave columns out."""

    drop: Annotated[list[ColumnName], Field(min_length=1, max_length=1000)]


class SampleStep(Plan):
    """Keep some rows of each split, chosen by their content."""

    sample: Annotated[float, Field(gt=0, lt=1, description="The share of rows to keep.")]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class DistinctStep(Plan):
    """Keep the first of rows that have the same content, ids aside, in all splits together.

    Splits are looked through in their order: what `train` has is taken out of `test`.
    """

    distinct: Literal[True]


Step = (
    FilterStep
    | JoinStep
    | SplitStep
    | KeepSplitsStep
    | RenameStep
    | TypesStep
    | RolesStep
    | ClassesStep
    | DropStep
    | SampleStep
    | DistinctStep
)
_STEPS: Mapping[str, type[Plan]] = {
    "filter": FilterStep,
    "join": JoinStep,
    "split": SplitStep,
    "splits": KeepSplitsStep,
    "rename": RenameStep,
    "types": TypesStep,
    "roles": RolesStep,
    "classes": ClassesStep,
    "drop": DropStep,
    "sample": SampleStep,
    "distinct": DistinctStep,
}
STEP_NAMES = tuple(_STEPS)

P = TypeVar("P", bound=BaseModel)


def read_plan(kind: type[P], wire: Any, where: str) -> P:
    """`wire` as a plan.

    Args:
        kind: which.
        wire: JSON types.
        where: what it is called in messages.

    Raises:
        InvalidInput: it does not fit; names the field.
    """
    try:
        return kind.model_validate(wire)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(one) for one in (where, *first["loc"]))
        said = str(first["msg"]).removeprefix("Value error, ")
        raise InvalidInput(f"{place}: {said}", param=place[:200]) from None


def read_steps(wire: Any) -> list[Step]:
    """The steps of a derivation: each an object with one of `STEP_NAMES`.

    Raises:
        InvalidInput: a step is unknown or does not fit; names it.
    """
    if not isinstance(wire, list) or len(wire) > MAX_STEPS:
        raise InvalidInput(f"steps must be a list of at most {MAX_STEPS} steps.", param="steps")
    return [_read_step(one, f"steps.{at}") for at, one in enumerate(wire)]


def _read_step(wire: Any, where: str) -> Step:
    named = [one for one in STEP_NAMES if isinstance(wire, dict) and one in wire]
    if len(named) != 1:
        raise InvalidInput(
            f"{where} must be an object with one of {', '.join(STEP_NAMES)}.", param=where
        )
    found: Any = read_plan(_STEPS[named[0]], wire, where)
    return found  # type: ignore[no-any-return]
