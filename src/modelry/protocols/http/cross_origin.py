"""Which foreign web pages may read answers (CORS): none, unless the operator names them."""

from __future__ import annotations

from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

_ASKED = ("authorization", "content-type", "inference-header-content-length", "x-request-id")
_TOLD = ("inference-header-content-length", "retry-after", "x-request-id")
_PREFLIGHT_S = 600


def allow_origins(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """`app`, for pages of `origins` too; they send a key of their own, never a cookie."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=list(_ASKED),
        expose_headers=list(_TOLD),
        allow_credentials=False,
        max_age=_PREFLIGHT_S,
    )
