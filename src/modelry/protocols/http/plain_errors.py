"""Errors in Modelry's own shape, for the doors that copy no other API."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from modelry.domain.errors import ModelryError
from modelry.protocols.http.endpoint import json_response
from modelry.protocols.http.errors import error_headers, status_of


def error_body(error: ModelryError) -> dict[str, Any]:
    """`{"error": {"code", "message", "param"}}`."""
    return {"error": {"code": error.code, "message": error.message, "param": error.param}}


def render_error(error: ModelryError) -> Response:
    """The answer that tells `error`."""
    return json_response(error_body(error), status_of(error), error_headers(error))
