"""The steps of a sign-in: to the issuer, back with a code, to a member and its session."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import orjson

from modelry.domain.access import DEFAULT_TENANT_ID, MEMBER_PREFIX, Member, Principal, Role
from modelry.domain.errors import ModelryError, NotFound, SignInFailed
from modelry.services.audit.denials import Denials
from modelry.services.audit.ports import AuditTrail
from modelry.services.encryption.ports import Sealer
from modelry.services.signin.issuers import Issuer, TenantRule
from modelry.services.signin.ports import Identity, IdentityProvider
from modelry.services.signin.redirects import local_path
from modelry.services.signin.sessions import OpenSession, SessionsService
from modelry.services.tenancy.clock import utc_now
from modelry.services.tenancy.members import MembersService
from modelry.services.tenancy.tokens import make_key_id

MAX_NAME_CHARS = 200
FLOW_LIFETIME = timedelta(minutes=10)
_PURPOSE = "sign_in/flow"
_BY_GROUPS = "sign_in:"
"""Begins `Member.created_by` of those whom an issuer's groups made members."""
_NOBODY = "anonymous"


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that has begun.

    Attributes:
        url: where the browser goes now.
        flow: what it must bring back, besides what the issuer gives it; sealed.
    """

    url: str
    flow: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A person who is signed in now, and the path of this server to go on to."""

    member: Member
    opened: OpenSession
    next_path: str


@dataclass(frozen=True, slots=True)
class _Flow:
    issuer: str
    tenant_id: str | None
    state: str
    nonce: str
    verifier: str
    next_path: str
    ends_at: float


class SignInService:
    """Signs people in.

    Args:
        issuers: the issuers that are trusted, each with its provider.
        members: whom people turn out to be.
        sessions: where sign-ins lead to.
        sealer: seals what a browser keeps meanwhile.
        trail: the audit log.
        denials: enters failures into it, however many there are.
        redirect_uri: where issuers send browsers back to.
        clock: gives the time.
    """

    def __init__(
        self,
        issuers: Mapping[str, tuple[Issuer, IdentityProvider]],
        *,
        members: MembersService,
        sessions: SessionsService,
        sealer: Sealer,
        trail: AuditTrail,
        denials: Denials,
        redirect_uri: str,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._issuers = issuers
        self._members = members
        self._sessions = sessions
        self._sealer = sealer
        self._trail = trail
        self._denials = denials
        self._redirect_uri = redirect_uri
        self._clock = clock

    def issuers(self) -> list[str]:
        """The names of the issuers, in the operator's order."""
        return list(self._issuers)

    def begin(self, name: str, *, next_path: str | None, tenant_id: str | None) -> Begun:
        """Send a browser to an issuer.

        Args:
            name: the issuer.
            next_path: where to go afterwards, on this server.
            tenant_id: which tenant to sign in to; None for the first that takes the person.

        Raises:
            NotFound: no such issuer, or it has nothing to do with the tenant.
            InvalidInput: `next_path` leads elsewhere.
            SourceUnavailable: the issuer cannot be reached.
        """
        issuer, provider = self._issuer(name)
        if tenant_id is not None and issuer.rule(tenant_id) is None:
            raise NotFound(f"The issuer '{name}' signs nobody in to such a tenant.", param="tenant")
        flow = _Flow(
            issuer=name,
            tenant_id=tenant_id,
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            next_path=local_path(next_path),
            ends_at=(self._clock() + FLOW_LIFETIME).timestamp(),
        )
        digest = hashlib.sha256(flow.verifier.encode()).digest()
        url = provider.authorization_url(
            redirect_uri=self._redirect_uri,
            state=flow.state,
            nonce=flow.nonce,
            challenge=base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        )
        return Begun(url, self._sealed(flow))

    def finish(self, flow: str | None, answer: Mapping[str, str], browser: str = "") -> Finished:
        """Take a browser back that an issuer sent.

        Args:
            flow: what `begin` gave it.
            answer: what the issuer gave it: `code` and `state`, or `error`.
            browser: what the browser calls itself.

        Raises:
            SignInFailed: the answer does not belong to the sign-in that this browser began, it
                proves nothing, or the person is no member.
            SourceUnavailable: the issuer cannot be reached.
        """
        begun = self._unsealed(flow)
        if not hmac.compare_digest(begun.state.encode(), answer.get("state", "").encode()):
            raise SignInFailed(
                "The answer belongs to another sign-in than this browser began. Sign in again."
            )
        issuer, provider = self._issuer(begun.issuer)
        try:
            member = self._member(issuer, begun, self._identity(issuer, provider, begun, answer))
            opened = self._sessions.open(member, browser)
        except ModelryError as error:
            self._note_failure(issuer, begun, error)
            raise
        try:
            self._trail.append(
                member.tenant_id,
                actor=MEMBER_PREFIX + member.member_id,
                action="sign_in.begin",
                resource=f"/sessions/{opened.session.session_id}",
                detail={"issuer": issuer.name, "role": member.role.value},
            )
        except ModelryError:  # nobody is signed in whom the audit log does not know
            self._sessions.end_current(opened.token)
            raise
        return Finished(member, opened, begun.next_path)

    def _note_failure(self, issuer: Issuer, begun: _Flow, error: ModelryError) -> None:
        first = issuer.tenants[0].tenant_id if issuer.tenants else DEFAULT_TENANT_ID
        enter = self._denials.note(
            begun.tenant_id or first,
            actor=_NOBODY,
            action="sign_in.failed",
            resource=f"/auth/login/{issuer.name}",
            outcome=error.code,
        )
        if enter is not None:
            enter()

    def sign_out(self, token: str) -> None:
        """End the session of a token.

        Raises:
            Unauthenticated: there is none.
        """
        session = self._sessions.end_current(token)
        actor = MEMBER_PREFIX + session.member_id
        self._note_end(session.tenant_id, actor, session.session_id)

    def end_own(self, principal: Principal, session_id: str) -> None:
        """End one of the caller's sessions.

        Raises:
            NotFound: the caller has no such session.
        """
        self._sessions.end_own(principal, session_id)
        self._note_end(principal.tenant_id, principal.key_id, session_id)

    def end_all_own(self, principal: Principal) -> None:
        """End all of the caller's sessions.

        Raises:
            NotFound: an API key calls.
        """
        self._sessions.end_all_own(principal)
        self._note_end(principal.tenant_id, principal.key_id, "*")

    def _note_end(self, tenant_id: str, actor: str, session_id: str) -> None:
        self._trail.append(
            tenant_id, actor=actor, action="sign_in.end", resource=f"/sessions/{session_id}"
        )

    # ---- who it is --------------------------------------------------------------------------

    def _identity(
        self,
        issuer: Issuer,
        provider: IdentityProvider,
        begun: _Flow,
        answer: Mapping[str, str],
    ) -> Identity:
        if answer.get("error"):
            raise SignInFailed("The issuer did not sign you in. Try again, or ask whoever runs it.")
        code = answer.get("code", "")
        if not code:
            raise SignInFailed("The issuer sent no code. Sign in again.")
        if answer.get("iss") not in (None, "", issuer.url):
            raise SignInFailed("Another issuer answered than was asked. Sign in again.")
        return provider.identify(
            code=code,
            redirect_uri=self._redirect_uri,
            verifier=begun.verifier,
            nonce=begun.nonce,
        )

    def _member(self, issuer: Issuer, begun: _Flow, who: Identity) -> Member:
        for rule in issuer.tenants:
            if begun.tenant_id not in (None, rule.tenant_id):
                continue
            found = self._member_in(issuer, rule, who)
            if found is not None:
                return found
        raise SignInFailed(
            "You are known to the issuer and no member here. Ask an owner to invite you, or to be "
            "put in a group that has a role."
        )

    def _member_in(self, issuer: Issuer, rule: TenantRule, who: Identity) -> Member | None:
        """The member of one tenant that a person is; None for nobody.

        Whom groups made a member has the role of the groups, and none without them. Whom a person
        made a member keeps the role that was given.
        """
        known = self._members.find_member(issuer.url, who.subject, rule.tenant_id)
        if known is None and who.email is not None:
            known = self._members.find_invited(rule.tenant_id, who.email)
        role = rule.role_of(who.groups)
        if known is None or known.created_by.startswith(_BY_GROUPS):
            if role is None:
                return None
            known = replace(known or self._new(issuer, rule, role), role=role)
        name = "".join(filter(str.isprintable, who.name))[:MAX_NAME_CHARS] or known.name
        return self._members.note_sign_in(
            replace(known, name=name, issuer=issuer.url, subject=who.subject)
        )

    def _new(self, issuer: Issuer, rule: TenantRule, role: Role) -> Member:
        return Member(
            tenant_id=rule.tenant_id,
            member_id=make_key_id(),
            role=role,
            created_at=self._clock(),
            created_by=_BY_GROUPS + issuer.name,
        )

    # ---- what the browser keeps meanwhile ---------------------------------------------------

    def _issuer(self, name: str) -> tuple[Issuer, IdentityProvider]:
        found = self._issuers.get(name)
        if found is None:
            known = ", ".join(self._issuers) or "none; sign-in is not set up on this server"
            raise NotFound(f"There is no issuer '{name[:80]}'; there are: {known}.", param="issuer")
        return found

    def _sealed(self, flow: _Flow) -> str:
        plain = orjson.dumps({name: getattr(flow, name) for name in _Flow.__slots__})
        sealed = self._sealer.seal(DEFAULT_TENANT_ID, _PURPOSE, plain)
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def _unsealed(self, flow: str | None) -> _Flow:
        try:
            raw = base64.urlsafe_b64decode((flow or "") + "=" * (-len(flow or "") % 4))
            fields: dict[str, Any] = orjson.loads(
                self._sealer.unseal(DEFAULT_TENANT_ID, _PURPOSE, raw)
            )
        except (ValueError, ModelryError):
            fields = {"ends_at": 0.0}
        if fields["ends_at"] <= self._clock().timestamp():
            raise SignInFailed(
                "This browser has begun no sign-in, or too long ago. Sign in again (with cookies). "
                "If you are signing in on the command line, paste this page's address there, and "
                "nowhere else."
            )
        return _Flow(**fields)
