"""Signing a person in without a browser of our own: the person's browser gives an address back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, quote, urlsplit

import httpx2

from modelry.client.connection import BrowserSession, connection_to
from modelry.client.errors import ModelryError, SignInFailed, told_error
from modelry.client.retries import RetryPolicy

CALLBACK_PATH = "/auth/callback"
TIMEOUT_S = 30.0
_COOKIES = ("__Host-modelry_session", "modelry_session")
_ANSWER_FIELDS = ("code", "state", "error", "iss")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person who is signed in.

    Attributes:
        url: of the server.
        session: what to call it with.
        role: in the tenant.
        tenant_id: the tenant.
        expires_at: when the session ends at the latest.
    """

    url: str
    session: BrowserSession = field(repr=False)
    role: str
    tenant_id: str
    expires_at: str


class SignIn:
    """One sign-in: send the person to `authorization_url`, then give `finish` where it led to.

    Args:
        url: of the server; by default `MODELRY_URL`.
        issuer: its name; by default the server's only one.
        tenant: the tenant to sign in to; by default the first that takes the person.
        ca: PEM file of the authority that vouches for the server.

    Raises:
        ModelryError: the server cannot be reached, has no such issuer, or several.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        issuer: str | None = None,
        tenant: str | None = None,
        ca: str | Path | None = None,
    ) -> None:
        self._connection = connection_to(url, "", TIMEOUT_S, RetryPolicy(retries=0), ca=ca)
        self.url = self._connection.url
        self._http = httpx2.Client(
            base_url=self.url,
            verify=self._connection.verify,
            trust_env=self._connection.uses_environment,
            timeout=TIMEOUT_S,
            headers=self._connection.headers(),
        )
        self._cookies: dict[str, str] = {}
        try:
            name = issuer or self._only_issuer()
            begun = self._get(
                f"/auth/login/{quote(name, safe='')}", {"tenant": tenant} if tenant else {}
            )
        except BaseException:
            self.close()
            raise
        self.authorization_url = begun.headers.get("location", "")

    def finish(self, address: str) -> SignedIn:
        """The session of the person whom the issuer sent to `address`.

        Raises:
            SignInFailed: the address is not one that the issuer sends people back to.
            ModelryError: as the server tells.
        """
        parts = urlsplit(address.strip())
        if parts.path != CALLBACK_PATH or not parts.query:
            raise SignInFailed(
                f"This is not the address that the browser was sent back to: it has the path "
                f"{CALLBACK_PATH} and goes on with '?…'. Copy it whole.",
                code="sign_in_failed",
            )
        given = {
            name: values[0]
            for name, values in parse_qs(parts.query).items()
            if name in _ANSWER_FIELDS
        }
        self._get(CALLBACK_PATH, given)
        told = self._get("/auth/session", {}).json()
        cookie = next(
            f"{name}={self._cookies[name]}" for name in _COOKIES if self._cookies.get(name)
        )
        return SignedIn(
            url=self.url,
            session=BrowserSession(cookie, told["csrf_token"]),
            role=told["role"],
            tenant_id=told["tenant_id"],
            expires_at=told["session"]["expires_at"],
        )

    def _only_issuer(self) -> str:
        names: list[str] = self._get("/auth/issuers", {}).json()["issuers"]
        if len(names) == 1:
            return names[0]
        known = ", ".join(names) or "none: sign-in is not set up there"
        raise ModelryError(
            f"Say which issuer; the server has: {known}.", code="invalid_input", param="issuer"
        )

    def _get(self, path: str, query: dict[str, Any]) -> httpx2.Response:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        try:
            answer = self._http.get(path, params=query, headers={"cookie": cookies})
        except httpx2.RequestError as error:
            raise self._connection.failure(error) from None
        if answer.status_code >= 400:
            try:
                told = answer.json()["error"]
            except (ValueError, KeyError, TypeError):
                told = None
            raise told_error(answer.status_code, told)
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self._cookies[name.strip()] = value.strip('"')
        self._http.cookies.clear()  # its own rules would keep Secure cookies from loopback
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
