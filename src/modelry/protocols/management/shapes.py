"""What the JSON shapes of all resources have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from modelry.domain.catalog import NAME_PATTERN
from modelry.domain.tenants import TENANT_ID_PATTERN
from modelry.protocols.http.values import shown


class Body(BaseModel):
    """What a caller sends: unknown fields are refused, and so are NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Answer(BaseModel):
    """What is answered."""

    model_config = ConfigDict(frozen=True)


Name = Annotated[
    str,
    Field(
        max_length=64,
        pattern=f"^{NAME_PATTERN.pattern}$",
        description="1 to 64 lower-case letters, digits, '.', '_' or '-'.",
    ),
]
CallableName = Annotated[
    str,
    Field(
        max_length=105,
        pattern=f"^{NAME_PATTERN.pattern}(?:@{TENANT_ID_PATTERN.pattern})?$",
        description="A deployment, or <deployment>@<tenant> for one that another tenant shares.",
    ),
]
TenantId = Annotated[
    str,
    Field(
        max_length=40,
        pattern=f"^{TENANT_ID_PATTERN.pattern}$",
        description="2 to 40 lower-case letters, digits or '-', beginning with a letter.",
    ),
]
ShortText = Annotated[str, Field(min_length=1, max_length=512)]
Digest = Annotated[
    str, Field(pattern="^sha256:[0-9a-f]{64}$", description="sha256:<64 hex digits>")
]
Number = Annotated[int, Field(strict=True, ge=1, le=2**31 - 1, description="A version's number.")]
NumberInPath = Annotated[int, Path(ge=1, le=2**31 - 1, description="A version's number.")]


def one_message(expected: str) -> WrapValidator:
    """Refuse a value of several possible types with one message, not with one for each type."""

    def check(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
        try:
            return inner(value)
        except ValidationError:
            raise ValueError(f"{shown(value)} was passed; expected {expected}.") from None

    return WrapValidator(check)


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("this time is beyond the calendar.") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time that was sent with its timezone, such as `2030-01-31T00:00:00Z`; in UTC."""
