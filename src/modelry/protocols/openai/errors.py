"""Errors in OpenAI's shape."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from modelry.domain.errors import ModelryError
from modelry.protocols.http.endpoint import json_response, sse_block
from modelry.protocols.http.errors import error_headers, status_of

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_exceeded"}
_CODES = {
    "unauthenticated": "invalid_api_key",
    "unsupported_field": "unsupported_parameter",
    "quota_exceeded": "rate_limit_exceeded",
    "budget_exceeded": "insufficient_quota",
}
"""Codes that OpenAI has another word for; the others are told as they are."""


def error_body(error: ModelryError) -> dict[str, Any]:
    """`{"error": {"message", "type", "param", "code"}}`."""
    status = status_of(error)
    code = _CODES.get(error.code, error.code)
    if error.code == "not_found" and error.param == "model":
        code = "model_not_found"
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": code}}


def render_error(error: ModelryError) -> Response:
    """The answer that tells `error`."""
    return json_response(error_body(error), status_of(error), error_headers(error))


def render_stream_failure(error: ModelryError) -> tuple[bytes, ...]:
    """The last event of a stream that failed; official clients raise it as an error."""
    return (sse_block(error_body(error)),)
