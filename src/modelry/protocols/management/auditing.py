"""Enters what routes do into the audit log: the intent before, the outcome after."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from modelry.domain.access import PLATFORM_PERMISSIONS, Permission, Principal
from modelry.domain.errors import Cancelled, NotFound
from modelry.protocols.management.services import services_of
from modelry.services.audit.acts import INTENT, OK
from modelry.services.audit.denials import Denials
from modelry.services.audit.trail import ChainedTrail
from modelry.services.privacy.recognisers import BUILT_IN
from modelry.services.privacy.redaction import Redactor

CANCELLED = Cancelled.code
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_RECORDED_CHARS = 200

_TOKENS = Redactor([one for one in BUILT_IN if one.kind in ("TOKEN", "PRIVATE_KEY")])

_noted: ContextVar[_Noted | None] = ContextVar("audited_act", default=None)


@dataclass(slots=True)
class _Noted:
    detail: dict[str, Any] = field(default_factory=dict)
    outcome: str = OK


def note(**detail: Any) -> None:
    """Have the outcome's entry of the act under way tell more: ids and numbers, never secrets."""
    noted = _noted.get()
    if noted is not None:
        noted.detail.update(detail)


def note_failure(outcome: str) -> None:
    """Have the act under way end with this error code, though its answer began well."""
    noted = _noted.get()
    if noted is not None:
        noted.outcome = outcome


@dataclass(frozen=True, slots=True)
class RouteAudit:
    """How a route appears in the audit log.

    Args:
        action: what it does, dotted.
        path: its template.
        permission: what it demands.
        recorded: the fields of the body that may be told.
        is_entered: whether its acts are entered at all; refusals always are.
    """

    action: str
    path: str
    permission: Permission
    recorded: Sequence[str]
    is_entered: bool

    @classmethod
    def of(
        cls, route: APIRoute, permission: Permission, recorded: Sequence[str], *, is_marked: bool
    ) -> RouteAudit:
        """How `route` appears; unsafe methods are always entered, others when `is_marked`."""
        area = str((route.tags or ["management"])[0]).replace(" ", "_")
        return cls(
            action=f"{area}.{route.name}",
            path=route.path_format,
            permission=permission,
            recorded=recorded,
            is_entered=is_marked or bool((route.methods or set()) - SAFE_METHODS),
        )

    def resource(self, request: Request) -> str:
        """The path, as it was asked for; a key that somebody put there by mistake is not told."""
        is_secret = services_of(request).authenticator.is_secret
        named = {
            name: "(a key)" if is_secret(str(value)) else _without_tokens(str(value))
            for name, value in request.path_params.items()
        }
        return self.path.format(**{name: quote(one, safe=":@()< >") for name, one in named.items()})

    def recorded_of(self, body: Any) -> dict[str, Any]:
        """The fields of `body` that may be told, each of bounded length."""
        if not isinstance(body, Mapping):
            return {}
        return {name: _short(body[name]) for name in self.recorded if name in body}


class Act:
    """One call of a route."""

    def __init__(
        self, trail: ChainedTrail, audit: RouteAudit, request: Request, principal: Principal
    ) -> None:
        self._trail = trail
        self._action = audit.action
        self._resource = audit.resource(request)
        self._request_id: str = request.state.request_id
        self._chains = [(principal.tenant_id, principal.key_id)]
        other = request.path_params.get("tenant_id")
        if audit.permission in PLATFORM_PERMISSIONS and other not in (None, principal.tenant_id):
            # a tenant's owners shall see what the platform's did to them
            self._chains.append((str(other), f"{principal.tenant_id}/{principal.key_id}"))
        self.noted = _Noted()

    async def begin(self) -> None:
        """Enter the intent.

        Raises:
            AuditUnavailable: it cannot be written; the act must not happen.
        """
        _noted.set(self.noted)
        await asyncio.to_thread(self._enter_intent, {"request_id": self._request_id})

    async def end(self, outcome: str) -> None:
        """Enter the outcome; goes on when the caller is gone."""
        await asyncio.shield(asyncio.to_thread(self._enter_outcome, outcome))

    def follow(self, response: Response) -> bool:
        """Whether `response` is a stream: then its end is the act's, and is entered then."""
        if not isinstance(response, StreamingResponse):
            return False
        response.body_iterator = self._until_end(response.body_iterator)
        return True

    async def _until_end(self, parts: Any) -> AsyncIterator[Any]:
        is_whole = False
        try:
            async for part in parts:
                yield part
            is_whole = True
            await self.end(self.noted.outcome)
        finally:
            if not is_whole:
                # not awaited: what closes a stream early waits for nothing
                asyncio.get_running_loop().run_in_executor(None, self._enter_outcome, CANCELLED)

    def _enter_intent(self, detail: Mapping[str, Any]) -> None:
        for tenant_id, actor in tuple(self._chains):
            try:
                self._entered(self._trail.append, tenant_id, actor, INTENT, detail)
            except NotFound:
                if tenant_id == self._chains[0][0]:
                    raise
                self._chains.remove((tenant_id, actor))  # the route tells that it is not there

    def _enter_outcome(self, outcome: str) -> None:
        detail = {"request_id": self._request_id, **self.noted.detail}
        for tenant_id, actor in self._chains:
            self._entered(self._trail.append_late, tenant_id, actor, outcome, detail)

    def _entered(
        self,
        append: Callable[..., None],
        tenant_id: str,
        actor: str,
        outcome: str,
        detail: Mapping[str, Any],
    ) -> None:
        append(
            tenant_id,
            actor=actor,
            action=self._action,
            resource=self._resource,
            outcome=outcome,
            detail=detail,
        )


async def note_denial(
    denials: Denials, audit: RouteAudit, request: Request, caller: tuple[str, str], outcome: str
) -> None:
    """Enter that a known caller, a key's tenant and id, was refused."""
    enter = denials.note(
        caller[0],
        actor=caller[1],
        action=audit.action,
        resource=audit.resource(request),
        outcome=outcome,
    )
    if enter is not None:
        await asyncio.to_thread(enter)


def _without_tokens(text: str) -> str:
    return _TOKENS.text(text, Counter())


def _short(value: Any) -> Any:
    """`value` when it is plain and short; else what it is."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= MAX_RECORDED_CHARS else f"({len(value)} characters)"
    if (
        isinstance(value, list)
        and len(value) <= 20
        and all(isinstance(one, str) and len(one) <= MAX_RECORDED_CHARS for one in value)
    ):
        return value
    return f"({type(value).__name__})"
