"""What both transports share: where the server is, how to read httpx's answers and failures."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from modelry.client.errors import ConnectionLost, ModelryError, NotReachable, TimedOut
from modelry.client.exchange import Answer, Request
from modelry.client.retries import RetryPolicy

DEFAULT_URL = "http://127.0.0.1:8080"
CONNECT_TIMEOUT_S = 5.0
LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=100)


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """A person's session: its cookie (`name=value`), and the token that changes need."""

    cookie: str = field(repr=False)
    csrf: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the server is and how to talk to it.

    Args:
        url: of the server, without a path of its API.
        api_key: sent as a bearer token; never shown.
        timeout_s: how long to wait for each next byte of an answer.
        retry: which requests are repeated.
        trust: what proves that the server is the right one; None takes the usual authorities.
        session: of a person, where there is no key.
    """

    url: str
    api_key: str | None = field(repr=False)
    timeout_s: float
    retry: RetryPolicy
    trust: ssl.SSLContext | None = field(default=None, repr=False)
    session: BrowserSession | None = field(default=None, repr=False)

    @property
    def verify(self) -> ssl.SSLContext | bool:
        """How httpx checks the server's certificate."""
        return True if self.trust is None else self.trust

    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        from modelry import __version__

        headers = {"user-agent": f"modelry-python/{__version__}", "accept": "*/*"}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        elif self.session is not None:
            headers |= {"cookie": self.session.cookie, "x-csrf-token": self.session.csrf}
        return headers

    @property
    def uses_environment(self) -> bool:
        """Whether proxies of the environment apply; never for this machine itself."""
        return (urlsplit(self.url).hostname or "") not in ("127.0.0.1", "localhost", "::1")

    def timeout(self, request: Request) -> httpx2.Timeout:
        """The time limits of one request."""
        wait_s = self.timeout_s if request.timeout_s is None else request.timeout_s
        return httpx2.Timeout(wait_s, connect=min(wait_s, CONNECT_TIMEOUT_S), pool=None)

    def failure(self, error: httpx2.RequestError) -> ModelryError:
        """The error that tells why there is no (complete) answer."""
        if isinstance(error, httpx2.ConnectError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
            return NotReachable(
                f"The certificate of {self.url} is not trusted, so nothing was sent. If the server "
                "has an authority of its own, give its ca.pem (ca=…, --ca or MODELRY_CA); the host "
                "in the URL must be one of the certificate's names.",
                param="ca",
            )
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return NotReachable(
                f"No server answers at {self.url}. Is it running (`modelry up`), and is the URL "
                "right (MODELRY_URL)?"
            )
        if isinstance(error, httpx2.TimeoutException):
            return TimedOut(
                f"The server at {self.url} did not answer within the timeout; give the client "
                "a larger timeout_s if the model is slow."
            )
        if isinstance(error, httpx2.UnsupportedProtocol):
            return NotReachable(f"'{self.url}' is not the URL of a server.")
        return ConnectionLost(
            f"The connection to {self.url} broke before the answer was complete "
            f"({type(error).__name__})."
        )


def connection_to(
    url: str | None,
    api_key: str | None,
    timeout_s: float,
    retry: RetryPolicy,
    *,
    ca: str | Path | None = None,
    session: BrowserSession | None = None,
) -> Connection:
    """The connection for given values; None takes MODELRY_URL, MODELRY_API_KEY and MODELRY_CA.

    Raises:
        NotReachable: the URL is none, or the authority's file cannot be read.
        ModelryError: the key holds characters that no key has.
    """
    url = (url or os.environ.get("MODELRY_URL") or DEFAULT_URL).rstrip("/")
    if api_key is None:
        api_key = os.environ.get("MODELRY_API_KEY")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NotReachable(f"'{url[:200]}' is not a URL such as {DEFAULT_URL}.", param="url")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise NotReachable(
            "The URL must be of the form http://host:port, without user, password or query.",
            param="url",
        )
    if api_key and not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
        raise ModelryError(
            "The API key holds blanks or other characters that no key has; was it copied whole?",
            code="unauthenticated",
            param="api_key",
        )
    ca = ca or os.environ.get("MODELRY_CA")
    return Connection(url, api_key or None, timeout_s, retry, _trust(ca) if ca else None, session)


def _trust(ca: str | Path) -> ssl.SSLContext:
    """A context that trusts the authorities in the PEM file `ca`, and no others."""
    try:
        return ssl.create_default_context(cafile=str(Path(ca).expanduser()))
    except (OSError, ssl.SSLError) as error:
        raise NotReachable(
            f"The file '{ca}' with the authority to trust cannot be used "
            f"({error.strerror or error}); expected PEM text, such as the server's ca.pem.",
            param="ca",
        ) from None


def answer_of(
    response: httpx2.Response, content: bytes, live: httpx2.Response | None = None
) -> Answer:
    """An httpx response as a plain value."""
    return Answer(response.status_code, header_map(response), content, live)


def header_map(response: httpx2.Response) -> Mapping[str, str]:
    """Headers by lower-case name."""
    return {name.lower(): value for name, value in response.headers.items()}
