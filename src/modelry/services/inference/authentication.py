"""API keys to principals, from memory: no database on the way of a request."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from modelry.domain.access import ApiKey, Principal
from modelry.domain.errors import Unauthenticated


class KeyRing(Protocol):
    """What the authenticator needs of the tenancy service."""

    def digest(self, token: bytes) -> bytes:
        """HMAC-SHA256 of a token under the server's pepper."""
        ...

    def valid_keys(self) -> Mapping[bytes, ApiKey]:
        """All keys that are neither revoked nor expired, by their HMAC."""
        ...


class Admission(NamedTuple):
    """Who a header stood for, and until when that may be taken for granted."""

    principal: Principal
    epoch: int
    expires_at: datetime | None


class Authenticator:
    """Maps a bearer token to its principal.

    Tokens are looked up by their keyed hash, which a caller can neither choose nor predict:
    the time of the look-up tells nothing about a secret.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._principals: dict[bytes, tuple[Principal, datetime | None]] = {}
        self._epoch = 0
        self.refresh()

    def refresh(self) -> None:
        """Read the valid keys again; called after each change and every few seconds."""
        self._principals = {
            secret: (key.principal(), key.expires_at)
            for secret, key in self._keys.valid_keys().items()
        }
        self._epoch += 1

    def principal(self, token: bytes | str) -> Principal:
        """Who calls with `token`.

        Raises:
            Unauthenticated: the key is not known, expired or revoked.
        """
        return self._find(token)[0]

    def _find(self, token: bytes | str) -> tuple[Principal, datetime | None]:
        raw = token.encode("utf-8", "surrogatepass") if isinstance(token, str) else token
        found = self._principals.get(self._keys.digest(raw))
        if found is None:
            raise Unauthenticated(
                "The API key is not valid (unknown, expired or revoked). Send a valid one as "
                "'Authorization: Bearer <key>'."
            )
        expires_at = found[1]
        if expires_at is not None and datetime.now(UTC) >= expires_at:
            raise Unauthenticated("The API key has expired. Ask an owner for a new one.")
        return found

    def from_header(self, authorization: bytes | None) -> Principal:
        """Who calls with this `Authorization` header.

        Raises:
            Unauthenticated: no header, another scheme than Bearer, or no valid key.
        """
        return self.admit(authorization).principal

    def admit(self, authorization: bytes | None) -> Admission:
        """As `from_header`, with what it takes to ask `still_holds` for the same header.

        Raises:
            Unauthenticated: as `from_header`.
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
