"""API keys and sessions to principals, from memory: no database on the way of a request."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from modelry.domain.access import ApiKey, Principal, TenantState
from modelry.domain.errors import TenantSuspended, Unauthenticated


@dataclass(frozen=True, slots=True)
class KeySnapshot:
    """Who may call, at one moment.

    `keys` are the keys of active tenants that are neither revoked nor expired, by their HMAC;
    `refused` are all other keys; `tenants` are all tenants with their state.
    """

    keys: Mapping[bytes, ApiKey]
    refused: Mapping[bytes, ApiKey]
    tenants: Mapping[str, TenantState]


class KeyRing(Protocol):
    """What the authenticator needs of the tenancy service."""

    def digest(self, token: bytes) -> bytes:
        """HMAC-SHA256 of a token under the server's pepper."""
        ...

    def snapshot(self) -> KeySnapshot:
        """Who may call now."""
        ...


class SessionRing(Protocol):
    """What the authenticator needs of the sessions of people who are signed in."""

    def refresh(self) -> None:
        """Read the open sessions again."""
        ...

    def admit(self, token: str, csrf: str | None, *, is_unsafe: bool) -> Principal:
        """Who calls with a session's token.

        Raises:
            Unauthenticated: there is no such session.
            PermissionDenied: the request may be forged.
        """
        ...


class SessionCredentials(NamedTuple):
    """What a browser sends of a session.

    `csrf` is what pages of ours add; `is_unsafe` says whether the request may change something.
    """

    token: str
    csrf: str | None
    is_unsafe: bool


class Admission(NamedTuple):
    """Who a header stood for, and until when that may be taken for granted."""

    principal: Principal
    epoch: int
    expires_at: datetime | None


class Authenticator:
    """Maps a bearer token, or a session, to its principal.

    Tokens are looked up by their keyed hash, which a caller can neither choose nor predict:
    the time of the look-up tells nothing about a secret.
    """

    def __init__(self, keys: KeyRing, sessions: SessionRing | None = None) -> None:
        self._keys = keys
        self._sessions = sessions
        self._principals: dict[bytes, tuple[Principal, datetime | None]] = {}
        self._refused: Mapping[bytes, ApiKey] = {}
        self._used: set[tuple[str, str]] = set()
        self._epoch = 0
        self._refreshing = threading.Lock()
        self.tenants: Mapping[str, TenantState] = {}
        """All tenants, as of the last refresh."""
        self.refresh()

    def refresh(self) -> None:
        """Read the valid keys again; called after each change and every few seconds."""
        with self._refreshing:  # else an older answer could replace a newer one
            snapshot = self._keys.snapshot()
            self._refused, self.tenants = snapshot.refused, snapshot.tenants
            self._principals = {
                secret: (key.principal(), key.expires_at) for secret, key in snapshot.keys.items()
            }
            self._epoch += 1
        self._refresh_sessions()

    def look_again(self) -> None:
        """Go on with the keys that are known, and read the sessions again.

        Who was admitted is looked up anew, so that what is in use is seen by `take_used`.
        """
        with self._refreshing:
            self._epoch += 1
        self._refresh_sessions()

    def _refresh_sessions(self) -> None:
        if self._sessions is not None:
            self._sessions.refresh()

    def take_used(self) -> set[tuple[str, str]]:
        """Tenant and id of the keys that were used since the last time.

        A key that goes on using one connection of the hot path is seen anew after each refresh.
        """
        taken, self._used = self._used, set()
        return taken

    def refused_key(self, authorization: bytes) -> ApiKey | None:
        """The key in this `Authorization` header, if it is one that is known and not admitted."""
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        return self._refused.get(self._keys.digest(token.strip()))

    def is_secret(self, text: str) -> bool:
        """Whether `text` is the token of a key, admitted or not."""
        digest = self._keys.digest(text.encode("utf-8", "surrogatepass"))
        return digest in self._principals or digest in self._refused

    def require_active(self, tenant_id: str) -> None:
        """Refuse a tenant whose keys and members may not call.

        Raises:
            TenantSuspended: it is suspended or being deleted.
            Unauthenticated: it is not there.
        """
        state = self.tenants.get(tenant_id)
        if state is None:
            raise Unauthenticated("The tenant of this caller does not exist (any more).")
        if state is not TenantState.ACTIVE:
            raise tenant_refusal(state)

    def principal(self, token: bytes | str) -> Principal:
        """Who calls with `token`.

        Raises:
            Unauthenticated: the key is not known, expired or revoked.
            TenantSuspended: its tenant is suspended or being deleted.
        """
        return self._find(token)[0]

    def _find(self, token: bytes | str) -> tuple[Principal, datetime | None]:
        raw = token.encode("utf-8", "surrogatepass") if isinstance(token, str) else token
        digest = self._keys.digest(raw)
        found = self._principals.get(digest)
        if found is None:
            refused = self._refused.get(digest)
            if refused is not None and refused.is_valid_at(datetime.now(UTC)):
                self.require_active(refused.tenant_id)
            raise Unauthenticated(
                "The API key is not valid (unknown, expired or revoked). Send a valid one as "
                "'Authorization: Bearer <key>'."
            )
        expires_at = found[1]
        if expires_at is not None and datetime.now(UTC) >= expires_at:
            raise Unauthenticated("The API key has expired. Ask an owner for a new one.")
        self._used.add((found[0].tenant_id, found[0].key_id))
        return found

    def from_header(self, authorization: bytes | None) -> Principal:
        """Who calls with this `Authorization` header.

        Raises:
            Unauthenticated: no header, another scheme than Bearer, or no valid key.
            TenantSuspended: the key's tenant is suspended or being deleted.
        """
        return self.admit(authorization).principal

    def from_request(
        self, authorization: bytes | None, session: SessionCredentials | None
    ) -> Principal:
        """Who calls: a key if the request has one, else whoever is signed in.

        Raises:
            Unauthenticated: neither, or not valid.
            PermissionDenied: a session, and the request may be forged.
            TenantSuspended: the caller's tenant is suspended or being deleted.
        """
        if authorization or session is None or self._sessions is None:
            return self.from_header(authorization)
        caller = self._sessions.admit(session.token, session.csrf, is_unsafe=session.is_unsafe)
        self.require_active(caller.tenant_id)
        return caller

    def admit(self, authorization: bytes | None) -> Admission:
        """As `from_header`, with what it takes to ask `still_holds` for the same header.

        Raises:
            Unauthenticated, TenantSuspended: as `from_header`.
        """
        epoch = self._epoch  # before the look-up: a refresh in between makes the admission stale
        if not authorization:
            raise Unauthenticated("No API key was sent. Send one as 'Authorization: Bearer <key>'.")
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            raise Unauthenticated("The Authorization header is not of the form 'Bearer <key>'.")
        principal, expires_at = self._find(token.strip())
        return Admission(principal, epoch, expires_at)

    def still_holds(self, admission: Admission) -> bool:
        """Whether the header of `admission` would be admitted again; cheaper than asking anew."""
        expires_at = admission.expires_at
        return admission.epoch == self._epoch and (
            expires_at is None or datetime.now(UTC) < expires_at
        )


def tenant_refusal(state: TenantState) -> TenantSuspended:
    """What callers of a tenant that is not active are told."""
    if state is TenantState.DELETING:
        return TenantSuspended("This tenant is being deleted; its keys work no more.")
    return TenantSuspended(
        "This tenant is suspended: its keys work again when the operator of this platform resumes "
        "it. Ask the operator."
    )
