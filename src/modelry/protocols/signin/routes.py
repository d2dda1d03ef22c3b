"""The endpoints below `/auth`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from modelry.domain.access import Permission
from modelry.domain.errors import ModelryError, NotFound, Overloaded, Unauthenticated
from modelry.protocols.http.credentials import (
    SESSION_COOKIE,
    cookie,
    is_secure,
    name_of,
    session_token,
)
from modelry.protocols.http.endpoint import Door, Endpoint, json_response
from modelry.protocols.http.plain_errors import render_error
from modelry.protocols.http.request import ApiRequest
from modelry.services.signin.ports import MemberSession
from modelry.services.signin.service import FLOW_LIFETIME, SignInService
from modelry.services.signin.sessions import LIFETIME, SessionsService

PREFIX = "/auth"
FLOW_COOKIE = "modelry_sign_in"
MOST_AT_ONCE = 8
"""Sign-ins that may wait for an issuer at once."""
_ANSWER_FIELDS = ("code", "state", "error", "iss")

T = TypeVar("T")


def build_door(sign_in: SignInService, sessions: SessionsService) -> Door:
    """The door for people."""
    handlers = _Handlers(sign_in, sessions)
    public, own = Permission.PUBLIC, Permission.SELF_READ
    return Door(
        "sign-in",
        (
            Endpoint(
                f"{PREFIX}/issuers", ("GET",), public, handlers.issuers, "Who signs people in"
            ),
            Endpoint(
                f"{PREFIX}/login/{{issuer}}",
                ("GET",),
                public,
                handlers.login,
                "Send a browser to an issuer",
                queries=("next", "tenant"),
            ),
            Endpoint(
                f"{PREFIX}/callback",
                ("GET",),
                public,
                handlers.callback,
                "Take a browser back from an issuer",
                queries=_ANSWER_FIELDS,
            ),
            Endpoint(f"{PREFIX}/logout", ("POST",), own, handlers.logout, "End this session"),
            Endpoint(f"{PREFIX}/session", ("GET",), own, handlers.session, "Who is signed in"),
            Endpoint(f"{PREFIX}/sessions", ("GET",), own, handlers.list, "Your sessions"),
            Endpoint(f"{PREFIX}/sessions", ("DELETE",), own, handlers.end_all, "End them all"),
            Endpoint(
                f"{PREFIX}/sessions/{{session_id}}",
                ("DELETE",),
                own,
                handlers.end,
                "End one of your sessions",
            ),
        ),
        render_error,
    )


class _Handlers:
    def __init__(self, sign_in: SignInService, sessions: SessionsService) -> None:
        self._sign_in = sign_in
        self._sessions = sessions
        self._busy = 0

    async def issuers(self, _: ApiRequest) -> Response:
        return json_response({"issuers": self._sign_in.issuers()})

    async def login(self, request: ApiRequest) -> Response:
        query = request.raw.query_params
        begun = await self._waiting(
            lambda: self._sign_in.begin(
                request.path_params["issuer"],
                next_path=query.get("next"),
                tenant_id=query.get("tenant"),
            )
        )
        answer = RedirectResponse(begun.url, 303)
        _set(answer, request.raw, FLOW_COOKIE, begun.flow, FLOW_LIFETIME)
        return answer

    async def callback(self, request: ApiRequest) -> Response:
        raw = request.raw
        given = {name: raw.query_params.get(name, "") for name in _ANSWER_FIELDS}
        flow, browser = cookie(raw, FLOW_COOKIE), raw.headers.get("user-agent", "")
        try:
            done = await self._waiting(lambda: self._sign_in.finish(flow, given, browser))
        except ModelryError as error:
            answer = render_error(error)
            _set(answer, raw, FLOW_COOKIE, "", timedelta())
            return answer
        await self._leave(raw)
        answer = RedirectResponse(done.next_path, 303)
        _set(answer, raw, FLOW_COOKIE, "", timedelta())
        _set(answer, raw, SESSION_COOKIE, done.opened.token, LIFETIME)
        return answer

    async def _leave(self, raw: Request) -> None:
        """End the session that this browser had before: a sign-in makes a new one."""
        try:
            before = session_token(raw)
            if before is not None:
                await asyncio.to_thread(self._sign_in.sign_out, before)
        except Unauthenticated:
            pass

    async def logout(self, request: ApiRequest) -> Response:
        token = _token_of(request)
        await asyncio.to_thread(self._sign_in.sign_out, token)
        return self._left(request)

    async def session(self, request: ApiRequest) -> Response:
        caller, token = request.principal, session_token(request.raw)
        is_by_session = token is not None and "authorization" not in request.raw.headers
        csrf = current = None
        if token is not None and is_by_session:
            current = self._sessions.current(token)
            csrf = self._sessions.csrf_token(token)
        return json_response(
            {
                "tenant_id": caller.tenant_id,
                "key_id": caller.key_id,
                "role": caller.role,
                "permissions": sorted(caller.permissions),
                "csrf_token": csrf,
                "session": None if current is None else _shown(current, current.session_id),
            }
        )

    async def list(self, request: ApiRequest) -> Response:
        found = await asyncio.to_thread(self._sessions.list_own, request.principal)
        current = self._current(request)
        return json_response({"sessions": [_shown(one, current) for one in found]})

    async def end(self, request: ApiRequest) -> Response:
        session_id = request.path_params["session_id"]
        await asyncio.to_thread(self._sign_in.end_own, request.principal, session_id)
        return Response(status_code=204)

    async def end_all(self, request: ApiRequest) -> Response:
        await asyncio.to_thread(self._sign_in.end_all_own, request.principal)
        return self._left(request)

    def _current(self, request: ApiRequest) -> str | None:
        token = session_token(request.raw)
        try:
            return None if token is None else self._sessions.current(token).session_id
        except Unauthenticated:
            return None

    def _left(self, request: ApiRequest) -> Response:
        answer = Response(status_code=204)
        _set(answer, request.raw, SESSION_COOKIE, "", timedelta())
        return answer

    async def _waiting(self, work: Callable[[], T]) -> T:
        """The result of `work` in a thread, of which only a few may wait for an issuer."""
        if self._busy >= MOST_AT_ONCE:
            raise Overloaded("Many people are signing in. Try again in a moment.", retry_after_s=2)
        self._busy += 1
        try:
            return await asyncio.to_thread(work)
        finally:
            self._busy -= 1


def _token_of(request: ApiRequest) -> str:
    token = session_token(request.raw)
    if token is None:
        raise NotFound("An API key has no session; only people who are signed in have.")
    return token


def _set(answer: Response, request: Request, name: str, value: str, lifetime: timedelta) -> None:
    """Set a cookie that no script reads and no foreign page sends along; without life it goes."""
    secure = is_secure(request)
    answer.set_cookie(
        name_of(name, is_secure=secure),
        value,
        max_age=int(lifetime.total_seconds()),
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def _shown(session: MemberSession, current: str | None) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "created_at": session.created_at,
        "seen_at": session.seen_at,
        "expires_at": session.expires_at,
        "browser": session.browser,
        "is_this": session.session_id == current,
    }
