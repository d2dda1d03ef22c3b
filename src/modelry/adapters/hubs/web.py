"""HTTP towards the outside: environment proxies and CA bundles, redirects one by one.

Authorization goes to the origin that it is for and to no other.
"""

from __future__ import annotations

import netrc
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

import httpx2

from modelry.adapters.hubs.guard import AddressGuard, PinnedTransport, is_proxied
from modelry.adapters.hubs.types import FetchPolicy
from modelry.domain.errors import SourceUnavailable

MAX_REDIRECTS = 6
USER_AGENT = "modelry"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class WebClient:
    """GET requests with bounded redirects; one instance per fetch, closed afterwards.

    Args:
        policy: timeouts, and what users' URLs may do.
        guarded: whether URLs come from users (the guard applies) or from the operator.
        authorization: values of the header `Authorization`, by origin (`https://host:port`).
        ca_file: a further CA bundle, as pip's `cert` names it.
        proxy: URL of a proxy, instead of the environment's.
        guard: what applies where `guarded`, instead of the policy's.
    """

    def __init__(
        self,
        policy: FetchPolicy,
        *,
        guarded: bool,
        authorization: Mapping[str, str] | None = None,
        ca_file: str | None = None,
        proxy: str | None = None,
        guard: AddressGuard | None = None,
    ) -> None:
        own = AddressGuard(policy.allow_private_hosts, policy.allow_plain_http)
        self._guard = (guard or own) if guarded else None
        self._authorization = authorization or {}
        context = _ssl_context(ca_file)
        timeout = httpx2.Timeout(policy.stall_timeout_s, connect=policy.connect_timeout_s)
        headers = {"User-Agent": USER_AGENT}
        self._direct = httpx2.Client(
            verify=context,
            timeout=timeout,
            headers=headers,
            proxy=proxy,
            auth=None if guarded else _netrc_auth(),
        )
        self._pinned: httpx2.Client | None = None
        if self._guard is not None:
            self._pinned = httpx2.Client(
                transport=PinnedTransport(context, self._guard),
                trust_env=False,
                timeout=timeout,
                headers=headers,
            )

    def close(self) -> None:
        """Close all connections."""
        self._direct.close()
        if self._pinned is not None:
            self._pinned.close()

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        """Stream the answer to a GET, redirects followed.

        Raises:
            InvalidInput: the URL, or one it redirects to, is not allowed.
            SourceUnavailable: too many redirects, or a redirect to nowhere.
            httpx2.HTTPError: the connection failed.
        """
        for _ in range(MAX_REDIRECTS):
            client = self._client_for(url)
            sent = dict(headers)
            secret = self._authorization.get(origin_of(url))
            if secret is not None:
                sent["Authorization"] = secret
            with client.stream("GET", url, headers=sent) as response:
                target = response.headers.get("Location")
                if response.status_code not in _REDIRECTS or not target:
                    yield response
                    return
                url = _redirected(url, target)
        raise SourceUnavailable(
            f"The server redirected more than {MAX_REDIRECTS} times; give the final URL.",
            param="source",
        )

    def _client_for(self, url: str) -> httpx2.Client:
        if self._guard is None or self._pinned is None:
            return self._direct
        scheme, host, port = self._guard.check_url(url)
        if not is_proxied(scheme, host):
            return self._pinned
        try:
            self._guard.addresses(host, port)
        except SourceUnavailable:
            # behind a proxy, names often resolve at the proxy only
            return self._direct
        return self._direct


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, as `https://host:443`."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _redirected(url: str, target: str) -> str:
    try:
        joined = urljoin(url, target)
        parts = urlsplit(joined)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("https", "http") or "@" in parts.netloc:
        raise SourceUnavailable("The server redirected to an unusable address.", param="source")
    if url.startswith("https://") and parts.scheme != "https":
        raise SourceUnavailable(
            "The server redirected from https:// to http://, where anybody could alter the file.",
            param="source",
        )
    return joined


def _ssl_context(ca_file: str | None) -> ssl.SSLContext:
    context = httpx2.create_ssl_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError):
            raise SourceUnavailable(
                "The CA bundle that pip's configuration names ('cert') cannot be read; mend the "
                "setting."
            ) from None
    return context


def _netrc_auth() -> httpx2.Auth | None:
    try:
        netrc.netrc()
    except (OSError, netrc.NetrcParseError):
        return None
    return httpx2.NetRCAuth()
