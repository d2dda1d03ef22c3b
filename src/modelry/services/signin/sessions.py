"""Sessions of people who are signed in: from memory, as API keys are."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from modelry.domain.access import MEMBER_PREFIX, Member, Principal
from modelry.domain.errors import NotFound, PermissionDenied, Unauthenticated
from modelry.services.signin.ports import MemberSession, SessionStore
from modelry.services.tenancy.clock import utc_now

LIFETIME = timedelta(hours=12)
IDLE = timedelta(hours=1)
MAX_BROWSER_CHARS = 120
TOKEN_CHARS = 43
MAX_SESSIONS = 32
"""Of one member; the oldest ends when there is one more."""


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A new session and its token, which only the browser keeps."""

    session: MemberSession
    token: str


class SessionsService:
    """Makes, checks and ends sessions; implements `authentication.SessionRing`.

    Args:
        store: keeps sessions.
        secret: the server's own secret, without which a stolen database opens no session.
        clock: gives the time.
        lifetime: after which a session ends, used or not.
        idle: after which it ends when it was not used.
    """

    def __init__(
        self,
        store: SessionStore,
        secret: bytes,
        *,
        clock: Callable[[], datetime] = utc_now,
        lifetime: timedelta = LIFETIME,
        idle: timedelta = IDLE,
    ) -> None:
        self._store = store
        self._token_key = hmac.digest(secret, b"session token", hashlib.sha256)
        self._csrf_key = hmac.digest(secret, b"session csrf", hashlib.sha256)
        self._clock = clock
        self._lifetime = lifetime
        self._idle = idle
        self._known: dict[bytes, tuple[MemberSession, Principal]] = {}
        self._seen: dict[tuple[str, str], datetime] = {}
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()

    # ---- the check of callers ---------------------------------------------------------------

    def refresh(self) -> None:
        """Save what was used and read what is open; after each change and every few seconds."""
        with self._refreshing:  # else an older answer could replace a newer one
            with self._lock:
                seen, self._seen = self._seen, {}
            self._store.note_seen([(*which, at) for which, at in seen.items()])
            now = self._clock()
            found = self._store.active(now, now - self._idle)
            self._known = {
                session.token_hmac: (session, member.principal()) for session, member in found
            }

    def admit(self, token: str, csrf: str | None, *, is_unsafe: bool) -> Principal:
        """Who calls with a session's token.

        Args:
            token: what the browser keeps.
            csrf: what a page of ours sent along, which a foreign page cannot know.
            is_unsafe: whether the request may change something.

        Raises:
            Unauthenticated: no such session, or it has ended.
            PermissionDenied: `csrf` is not the session's, and the request is unsafe.
        """
        session, principal = self._find(token)
        if is_unsafe and not hmac.compare_digest(
            self.csrf_token(token).encode(), (csrf or "").encode("utf-8", "surrogatepass")
        ):
            raise PermissionDenied(
                "The request comes with a session and without its token against forged requests. "
                "Send the 'csrf_token' of GET /auth/session in the header 'X-CSRF-Token'.",
                param="x-csrf-token",
            )
        with self._lock:
            self._seen[session.tenant_id, session.session_id] = self._clock()
        return principal

    def current(self, token: str) -> MemberSession:
        """The session of a token.

        Raises:
            Unauthenticated: as for `admit`.
        """
        return self._find(token)[0]

    def csrf_token(self, token: str) -> str:
        """What pages of ours must send along with unsafe requests of this session."""
        return hmac.digest(self._csrf_key, token.encode("utf-8", "surrogatepass"), "sha256").hex()

    def _find(self, token: str) -> tuple[MemberSession, Principal]:
        found = self._known.get(self._digest(token))
        if found is None or not self._is_open(found[0]):
            raise Unauthenticated("The session is not valid or has ended. Sign in again.")
        return found

    def _is_open(self, session: MemberSession) -> bool:
        now = self._clock()
        seen_at = self._seen.get((session.tenant_id, session.session_id), session.seen_at)
        return now < session.expires_at and now - seen_at < self._idle

    def _digest(self, token: str) -> bytes:
        return hmac.digest(self._token_key, token.encode("utf-8", "surrogatepass"), "sha256")

    # ---- made and ended ---------------------------------------------------------------------

    def open(self, member: Member, browser: str = "") -> OpenSession:
        """A new session of a member; its token was never known to anybody before."""
        token = secrets.token_urlsafe(32)
        now = self._clock()
        session = MemberSession(
            tenant_id=member.tenant_id,
            session_id=secrets.token_hex(8),
            member_id=member.member_id,
            token_hmac=self._digest(token),
            created_at=now,
            seen_at=now,
            expires_at=now + self._lifetime,
            browser="".join(filter(str.isprintable, browser))[:MAX_BROWSER_CHARS],
        )
        for old in self._store.of_member(member.tenant_id, member.member_id)[MAX_SESSIONS - 1 :]:
            self._store.end(member.tenant_id, member.member_id, old.session_id)
        self._store.add(session)
        self.refresh()
        return OpenSession(session, token)

    def end_current(self, token: str) -> MemberSession:
        """End the session of a token.

        Raises:
            Unauthenticated: as for `admit`.
        """
        session = self.current(token)
        self._store.end(session.tenant_id, session.member_id, session.session_id)
        self._forget(session.tenant_id, session.member_id, session.session_id)
        return session

    def list_own(self, principal: Principal) -> list[MemberSession]:
        """The caller's open sessions, newest first."""
        found = self._store.of_member(principal.tenant_id, member_of(principal))
        used = [
            replace(one, seen_at=self._seen.get((one.tenant_id, one.session_id), one.seen_at))
            for one in found
        ]
        return [one for one in used if self._is_open(one)]

    def end_own(self, principal: Principal, session_id: str) -> None:
        """End one of the caller's sessions.

        Raises:
            NotFound: the caller has no such session.
        """
        member_id = member_of(principal)
        if not self._store.end(principal.tenant_id, member_id, session_id):
            raise NotFound(f"You have no session '{session_id[:40]}'.", param="session_id")
        self._forget(principal.tenant_id, member_id, session_id)

    def end_all_own(self, principal: Principal) -> int:
        """End all of the caller's sessions; how many there were."""
        member_id = member_of(principal)
        count = self._store.end_all(principal.tenant_id, member_id)
        self._forget(principal.tenant_id, member_id, None)
        return count

    def sweep(self) -> int:
        """Delete what has ended by itself; how many there were."""
        now = self._clock()
        return self._store.forget(now, now - self._idle)

    def _forget(self, tenant_id: str, member_id: str, session_id: str | None) -> None:
        """Take ended sessions out of memory at once, whatever a refresh beside it reads."""
        self._known = {
            digest: (session, principal)
            for digest, (session, principal) in self._known.items()
            if (session.tenant_id, session.member_id) != (tenant_id, member_id)
            or session_id not in (None, session.session_id)
        }
        self.refresh()


def member_of(principal: Principal) -> str:
    """The member that calls.

    Raises:
        NotFound: an API key calls, which has no sessions.
    """
    if not principal.key_id.startswith(MEMBER_PREFIX):
        raise NotFound("An API key has no sessions; only people who are signed in have.")
    return principal.key_id.removeprefix(MEMBER_PREFIX)
