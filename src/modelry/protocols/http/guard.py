"""What is checked of every request before anything else looks at it.

The connection class asks once per head that it parses, for every door: whose name the request is
for, whether a foreign page sent it, how long its head is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from starlette.types import ASGIApp

from modelry.domain.errors import (
    HeadersTooLarge,
    MalformedBody,
    ModelryError,
    PermissionDenied,
)
from modelry.protocols.http.hosts import Authority, HostList, same_place

MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100
MAX_URL_BYTES = 8 * 1024
_SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_OWN_SITES = frozenset({b"same-origin", b"none"})
_OVERHEAD_BYTES = 4  # ": " and the end of the line

Headers = Sequence[tuple[bytes, bytes]]
Refusal = Callable[[bytes, ModelryError], ASGIApp]
"""What answers a request to a URL that was refused for a reason."""


@dataclass(frozen=True, slots=True)
class RequestGuard:
    """The check.

    Args:
        hosts: the names that this server answers to.
        refusal: how a refusal is told.
        origins: origins of foreign pages that may send requests (`https://app.example.com`).
    """

    hosts: HostList
    refusal: Refusal
    origins: frozenset[bytes] = field(default_factory=frozenset)

    def check(self, method: bytes, url: bytes, version: str, headers: Headers) -> bool:
        """Check a head.

        Returns:
            Whether it comes from a program with a key of its own rather than from a browser.

        Raises:
            ModelryError: the request is not to be answered, and why.
        """
        hosts: list[bytes] = []
        origins: list[bytes] = []
        site = None
        has_key = False
        size = len(url)
        for name, value in headers:
            size += len(name) + len(value) + _OVERHEAD_BYTES
            if name == b"host":
                hosts.append(value)
            elif name == b"origin":
                origins.append(value)
            elif name == b"sec-fetch-site":
                site = value
            elif name == b"authorization":
                has_key = True
        _check_size(len(url), len(headers), size)
        authority = self.hosts.check(hosts, is_required=version != "1.0")
        if not url.startswith(b"/"):
            self._check_whole_url(url)
        if method not in _SAFE_METHODS:
            self._check_origin(origins, site, authority)
        return has_key and not origins

    def _check_whole_url(self, url: bytes) -> None:
        """A request line may hold a whole URL, which then goes before the Host header."""
        scheme, separator, rest = url.partition(b"://")
        if not separator or scheme.lower() not in (b"http", b"https"):
            raise MalformedBody("The request's target must be a path that begins with '/'.")
        end = min((at for at in (rest.find(sign) for sign in b"/?#") if at >= 0), default=len(rest))
        self.hosts.check([rest[:end]], is_required=True)

    def _check_origin(
        self, origins: list[bytes], site: bytes | None, authority: Authority | None
    ) -> None:
        for origin in origins:
            if origin not in self.origins and not same_place(origin, authority):
                raise PermissionDenied(
                    "A page of another origin sent this request. Its operator can allow that "
                    "origin by MODELRY_CORS_ORIGINS.",
                    param="origin",
                )
        if not origins and site is not None and site not in _OWN_SITES:
            raise PermissionDenied(
                "A page of another site sent this request, and it does not say which (Origin).",
                param="sec-fetch-site",
            )


def _check_size(url_bytes: int, headers: int, total_bytes: int) -> None:
    if url_bytes > MAX_URL_BYTES:
        raise HeadersTooLarge(f"The URL has {url_bytes} bytes; at most {MAX_URL_BYTES} are read.")
    if headers > MAX_HEADERS:
        raise HeadersTooLarge(f"The request has {headers} headers; at most {MAX_HEADERS} are read.")
    if total_bytes > MAX_HEAD_BYTES:
        raise HeadersTooLarge(
            f"The request's headers take {total_bytes} bytes; at most {MAX_HEAD_BYTES} are read."
        )
