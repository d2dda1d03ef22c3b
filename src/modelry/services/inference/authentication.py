"""API keys to principals, from memory: no database on the way of a request."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

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


class Authenticator:
    """Maps a bearer token to its principal.

    Tokens are looked up by their keyed hash, which a caller can neither choose nor predict:
    the time of the look-up tells nothing about a secret.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._principals: dict[bytes, tuple[Principal, datetime | None]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the valid keys again; called after each change and every few seconds."""
        self._principals = {
            secret: (key.principal(), key.expires_at)
            for secret, key in self._keys.valid_keys().items()
        }

    def principal(self, token: bytes | str) -> Principal:
        """Who calls with `token`.

        Raises:
            Unauthenticated: the key is not known, expired or revoked.
        """
        raw = token.encode("utf-8", "surrogatepass") if isinstance(token, str) else token
        found = self._principals.get(self._keys.digest(raw))
        if found is None:
            raise Unauthenticated(
                "The API key is not valid (unknown, expired or revoked). Send a valid one as "
                "'Authorization: Bearer <key>'."
            )
        principal, expires_at = found
        if expires_at is not None and datetime.now(UTC) >= expires_at:
            raise Unauthenticated("The API key has expired. Ask an owner for a new one.")
        return principal

    def from_header(self, authorization: bytes | None) -> Principal:
        """Who calls with this `Authorization` header.

        Raises:
            Unauthenticated: no header, another scheme than Bearer, or no valid key.
        """
        if not authorization:
            raise Unauthenticated("No API key was sent. Send one as 'Authorization: Bearer <key>'.")
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            raise Unauthenticated("The Authorization header is not of the form 'Bearer <key>'.")
        return self.principal(token.strip())
