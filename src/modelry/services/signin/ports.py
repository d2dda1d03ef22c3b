"""What signing in needs from outside."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from modelry.domain.access import Member


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a person is, as an issuer says and has proved.

    `email` is there only if the issuer has verified it.
    """

    subject: str
    email: str | None = None
    name: str = ""
    groups: frozenset[str] = field(default_factory=frozenset)


class IdentityProvider(Protocol):
    """An issuer that signs people in by the authorization code flow."""

    def authorization_url(
        self, *, redirect_uri: str, state: str, nonce: str, challenge: str
    ) -> str:
        """Where to send the person's browser.

        Args:
            redirect_uri: where the issuer sends it back to.
            state: comes back with it.
            nonce: comes back within the signed token.
            challenge: SHA-256 of the verifier, in URL-safe base64 without padding (PKCE, S256).

        Raises:
            SourceUnavailable: the issuer does not answer as it must.
        """
        ...

    def identify(self, *, code: str, redirect_uri: str, verifier: str, nonce: str) -> Identity:
        """Who came back with `code`.

        Raises:
            SignInFailed: the issuer refuses the code, or its token proves nothing.
            SourceUnavailable: the issuer does not answer as it must.
        """
        ...


@dataclass(frozen=True, slots=True)
class MemberSession:
    """A member that is signed in with one browser; never the secret, only its keyed hash."""

    tenant_id: str
    session_id: str
    member_id: str
    token_hmac: bytes
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    browser: str = ""


class SessionStore(Protocol):
    """Keeps sessions; every method is one transaction."""

    def add(self, session: MemberSession) -> None:
        """Keep a new one.

        Raises:
            Conflict: the member is no more.
        """
        ...

    def of_member(self, tenant_id: str, member_id: str) -> list[MemberSession]:
        """A member's sessions, newest first."""
        ...

    def active(self, now: datetime, seen_after: datetime) -> list[tuple[MemberSession, Member]]:
        """All sessions that have not ended, of members and tenants that may act, with the members.

        Args:
            now: sessions that expire by then have ended.
            seen_after: those that were not used since then have ended, too.
        """
        ...

    def note_seen(self, seen: Collection[tuple[str, str, datetime]]) -> None:
        """Remember when sessions (tenant and session id) were last used."""
        ...

    def end(self, tenant_id: str, member_id: str, session_id: str) -> bool:
        """Delete one session of a member; whether it was there."""
        ...

    def end_all(self, tenant_id: str, member_id: str) -> int:
        """Delete all sessions of a member; how many there were."""
        ...

    def forget(self, now: datetime, seen_after: datetime) -> int:
        """Delete those that have ended by themselves; how many there were."""
        ...
