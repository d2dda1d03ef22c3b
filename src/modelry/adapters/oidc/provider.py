"""One issuer: where it is to be asked, its keys, and who comes back with a code."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from pydantic import SecretStr

from modelry.adapters.oidc.tokens import (
    Expected,
    PublicKey,
    UnknownKey,
    read_id_token,
    usable_keys,
)
from modelry.adapters.oidc.web import IssuerWeb, check_url
from modelry.domain.errors import SignInFailed, SourceUnavailable
from modelry.services.signin.ports import Identity

DISCOVERY_S = 3600.0
KEYS_S = 3600.0
KEYS_AGAIN_S = 30.0
"""How soon keys are fetched again for a token by a key that is not known: whoever can make up
tokens cannot make this server ask the issuer all the time."""
MAX_KEYS = 64
MAX_GROUPS = 2000


@dataclass(frozen=True, slots=True)
class ProviderChoice:
    """How this server is known to an issuer, and how the issuer's tokens are to be read.

    Attributes:
        url: the issuer's identifier.
        client_id: this server's name there.
        client_secret: its secret there; None for a public client.
        algorithm: the only one that its tokens may be signed by.
        scopes: what to ask for.
        groups_claim: the claim that lists a person's groups.
    """

    url: str
    client_id: str
    client_secret: SecretStr | None = None
    algorithm: str = "RS256"
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    groups_claim: str = "groups"


@dataclass(slots=True)
class _Remembered:
    value: Any = None
    since: float = field(default=float("-inf"))


class OidcProvider:
    """Implements `IdentityProvider`; safe for threads.

    Args:
        choice: which issuer, and how.
        web: asks it.
        clock: Unix time, in seconds.
        ticks: a clock that never goes back, in seconds.
    """

    def __init__(
        self,
        choice: ProviderChoice,
        web: IssuerWeb | None = None,
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._choice = choice
        self._web = web or IssuerWeb()
        self._clock = clock
        self._ticks = ticks
        self._lock = threading.Lock()
        self._discovered = _Remembered()
        self._keys = _Remembered()

    def authorization_url(
        self, *, redirect_uri: str, state: str, nonce: str, challenge: str
    ) -> str:
        """See `IdentityProvider.authorization_url`."""
        endpoint = check_url(self._described()["authorization_endpoint"])
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self._choice.client_id,
                "redirect_uri": redirect_uri,
                "scope": " ".join(self._choice.scopes),
                "state": state,
                "nonce": nonce,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            }
        )
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    def identify(self, *, code: str, redirect_uri: str, verifier: str, nonce: str) -> Identity:
        """See `IdentityProvider.identify`."""
        token = self._exchange(code, redirect_uri, verifier).get("id_token")
        expected = Expected(
            algorithm=self._choice.algorithm,
            issuer=self._choice.url,
            client_id=self._choice.client_id,
            nonce=nonce,
            now=self._clock(),
        )
        try:
            claims = read_id_token(token, self._usable(KEYS_S), expected)
        except UnknownKey:
            claims = read_id_token(token, self._usable(KEYS_AGAIN_S), expected)
        return _identity(claims, self._choice.groups_claim)

    def _exchange(self, code: str, redirect_uri: str, verifier: str) -> dict[str, Any]:
        described = self._described()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        secret, auth = self._choice.client_secret, None
        methods = described.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if secret is not None and "client_secret_basic" in methods:
            auth = (_quoted(self._choice.client_id), _quoted(secret.get_secret_value()))
        else:
            form["client_id"] = self._choice.client_id
            if secret is not None:
                form["client_secret"] = secret.get_secret_value()
        return self._web.post(described["token_endpoint"], form, auth)

    def _described(self) -> Mapping[str, Any]:
        """What the issuer says of itself, remembered for a while."""
        with self._lock:
            if self._ticks() - self._discovered.since >= DISCOVERY_S:
                self._discovered.value = self._discover()
                self._discovered.since = self._ticks()
            found: Mapping[str, Any] = self._discovered.value
            return found

    def _discover(self) -> Mapping[str, Any]:
        issuer = self._choice.url
        document = self._web.get(issuer.rstrip("/") + "/.well-known/openid-configuration")
        if document.get("issuer") != issuer:
            raise SourceUnavailable(
                "The issuer calls itself otherwise than it is called in this server's settings; "
                "the operator must write it exactly so."
            )
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            check_url(document.get(name))
        methods = document.get("code_challenge_methods_supported")
        if isinstance(methods, list) and "S256" not in methods:
            raise SourceUnavailable("The issuer knows no PKCE with S256, which is needed.")
        return document

    def _usable(self, fresh_s: float) -> list[tuple[str | None, PublicKey]]:
        """The issuer's keys, fetched again when what is remembered is older than `fresh_s`."""
        uri = self._described()["jwks_uri"]
        with self._lock:
            if self._ticks() - self._keys.since >= fresh_s:
                documents = self._web.get(uri).get("keys")
                if not isinstance(documents, list) or len(documents) > MAX_KEYS:
                    raise SourceUnavailable("The issuer's set of keys is none, or too large.")
                self._keys.value = usable_keys(documents, self._choice.algorithm)
                self._keys.since = self._ticks()
            found: list[tuple[str | None, PublicKey]] = self._keys.value
            return found


def _identity(claims: Mapping[str, Any], groups_claim: str) -> Identity:
    groups = claims.get(groups_claim, [])
    if isinstance(groups, str):
        groups = [groups]
    if not isinstance(groups, list) or len(groups) > MAX_GROUPS:
        raise SignInFailed(
            f"The claim '{groups_claim}' of the issuer's token is no list of groups, or too long."
        )
    email, name = claims.get("email"), claims.get("name")
    is_verified = claims.get("email_verified") is True and isinstance(email, str)
    return Identity(
        subject=claims["sub"],
        email=email if is_verified else None,
        name=name if isinstance(name, str) else "",
        groups=frozenset(one for one in groups if isinstance(one, str)),
    )


def _quoted(text: str) -> str:
    """As HTTP Basic has it in OAuth (RFC 6749, 2.3.1)."""
    return urlencode({"": text})[1:]
