"""Keeps sources that users give off private networks.

A host is resolved once, addresses that are not public are refused, and the connection goes to
exactly an address that was checked (so a name that changes its answer gains nothing). Where the
environment sets a proxy, the proxy resolves: the check is made all the same where the name
resolves here, and keeping private addresses away is then the proxy's task too.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from modelry.domain.errors import InvalidInput, SourceUnavailable
from modelry.manifest.nodes import shorten

_WRAPPED_IPV4 = tuple(
    ipaddress.ip_network(text)
    for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96")
)
"""Ranges whose last four bytes are an IPv4 address that some networks translate to."""


def is_public(address: str) -> bool:
    """Whether an IP address is reachable on the public internet, whatever it is wrapped in."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if any(ip in network for network in _WRAPPED_IPV4):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if ip.teredo is not None:
            return False
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def resolve(host: str, port: int) -> list[str]:
    """The addresses of `host`, in the order to try.

    Raises:
        SourceUnavailable: the name does not resolve.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SourceUnavailable(
            f"The host {shorten(host)} cannot be resolved. Check its spelling and the server's "
            "network.",
            param="source",
        ) from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_proxied(scheme: str, host: str) -> bool:
    """Whether the environment sends requests to `host` through a proxy."""
    proxies = getproxies()
    return bool(proxies.get(scheme) or proxies.get("all")) and not proxy_bypass(host)


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """What a user's URL may lead to."""

    allow_private_hosts: bool
    allow_plain_http: bool

    def check_url(self, url: str) -> tuple[str, str, int]:
        """Scheme, host and port of a URL.

        Raises:
            InvalidInput: its scheme is not allowed.
        """
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and self.allow_plain_http):
            raise InvalidInput(
                f"The URL scheme {shorten(parts.scheme)} is not accepted for sources (a redirect "
                "may have led there); use https://.",
                param="source",
            )
        default = 443 if parts.scheme == "https" else 80
        return parts.scheme, parts.hostname or "", parts.port or default

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of `host` to connect to.

        Raises:
            InvalidInput: one of them is not public, and that is not allowed.
            SourceUnavailable: the name does not resolve.
        """
        found = resolve(host, port)
        if not self.allow_private_hosts and not all(is_public(address) for address in found):
            raise InvalidInput(
                f"The host {shorten(host)} leads to a loopback, private or reserved address, which "
                "sources may not. Use a public host; an operator can allow private ones by the "
                "setting allow_private_sources.",
                param="source",
            )
        return found


class PinnedTransport(httpx2.BaseTransport):
    """Connects to addresses that were checked; TLS still verifies the name."""

    def __init__(self, context: ssl.SSLContext, guard: AddressGuard) -> None:
        # no connection is kept: one that was verified for a name must not serve another name
        # at the same address
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._inner = httpx2.HTTPTransport(verify=context, trust_env=False, limits=limits)
        self._guard = guard

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request to the first checked address that accepts the connection."""
        url = request.url
        _, host, port = self._guard.check_url(str(url))
        failure: httpx2.HTTPError | None = None
        for address in self._guard.addresses(host, port):
            request.url = url.copy_with(host=address)
            request.extensions = {**request.extensions, "sni_hostname": host}
            try:
                return self._inner.handle_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = error
            finally:
                request.url = url
        raise failure or httpx2.ConnectError("no address")

    def close(self) -> None:
        """Close all connections."""
        self._inner.close()
