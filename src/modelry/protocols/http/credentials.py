"""What a request says of who sends it."""

from __future__ import annotations

from starlette.requests import Request

from modelry.domain.access import Principal
from modelry.domain.errors import Unauthenticated
from modelry.services.inference.authentication import Authenticator, SessionCredentials

SECURE_PREFIX = "__Host-"
SESSION_COOKIE = "modelry_session"
CSRF_HEADER = "x-csrf-token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def principal_of(request: Request, authenticator: Authenticator) -> Principal:
    """Who sends `request`, by its key or else by its session.

    Raises:
        Unauthenticated: neither is there, or valid.
        PermissionDenied: it has a session, and may be forged.
    """
    authorization = request.headers.get("authorization", "").encode("latin-1")
    if authorization:
        return authenticator.from_header(authorization)
    token = session_token(request)
    credentials = None
    if token is not None:
        is_unsafe = request.method not in SAFE_METHODS
        credentials = SessionCredentials(token, request.headers.get(CSRF_HEADER), is_unsafe)
    return authenticator.from_request(None, credentials)


def session_token(request: Request) -> str | None:
    """The token of the session that a browser sends along, if one.

    Raises:
        Unauthenticated: more than one: another site of the same domain may have set one of them.
    """
    return cookie(request, SESSION_COOKIE)


def cookie(request: Request, name: str) -> str | None:
    """The value of a cookie, under TLS that of its `__Host-` form only; None when there is none.

    Raises:
        Unauthenticated: there is more than one.
    """
    wanted = name_of(name, is_secure=is_secure(request))
    found = []
    for header in request.headers.getlist("cookie"):
        for part in header.split(";"):
            key, _, value = part.strip().partition("=")
            if key == wanted:
                found.append(value)
    if len(found) > 1:
        raise Unauthenticated(
            "The request has several cookies of one name. Delete this site's cookies."
        )
    return found[0] if found and found[0] else None


def is_secure(request: Request) -> bool:
    """Whether browsers reach this server by TLS, whoever ends it."""
    return bool(request.scope["scheme"] == "https")


def name_of(cookie_name: str, *, is_secure: bool) -> str:
    """What a cookie is called: browsers let nobody else set one that begins so."""
    return SECURE_PREFIX + cookie_name if is_secure else cookie_name
