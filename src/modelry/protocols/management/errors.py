"""What pydantic refuses, in Modelry's words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from modelry.domain.errors import InvalidInput, UnsupportedField
from modelry.protocols.http.values import shown

_SUBJECT = re.compile(r"^(Input|String|List|Dictionary|Value|Tuple|Set|Number)\b")
_MAX_PARAM_CHARS = 160


class ErrorDetail(BaseModel):
    """A stable `code`, what was wrong in words, and the field that is to blame, if one is."""

    code: str
    message: str
    param: str | None


class ErrorAnswer(BaseModel):
    """What is answered instead when a request fails."""

    error: ErrorDetail


def told(error: RequestValidationError) -> InvalidInput:
    """The first thing that was wrong with a request."""
    first: dict[str, Any] = error.errors()[0]
    where, *path = first["loc"]
    param = _dotted(path) or None
    subject = param or f"The {where}"
    if first["type"] == "missing":
        return InvalidInput(f"{subject} is missing; it is required.", param=param)
    if first["type"] == "extra_forbidden":
        return UnsupportedField(
            f"{subject} is not a field of this request; /docs and /openapi.json list those that "
            "there are.",
            param=param,
        )
    if first["type"] == "value_error":
        return InvalidInput(f"{subject}: {first['ctx']['error']}", param=param)
    expected = _SUBJECT.sub("it", first["msg"])
    return InvalidInput(f"{subject} is {shown(first['input'])}; {expected}.", param=param)


def _dotted(path: Sequence[str | int]) -> str:
    """`scale.min_replicas`, `traffic[0].version`; cut to a length that fits a message."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text[:_MAX_PARAM_CHARS]
