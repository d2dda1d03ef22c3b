"""Headers that tell browsers how little they may do with an answer."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelry.protocols.http.hosts import LOOPBACK_NAMES, parse_authority

NO_SNIFFING = ("x-content-type-options", "nosniff")
_ON_ALL = (
    NO_SNIFFING,
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
)
_ON_PAGES = (
    (
        "content-security-policy",
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
"""A page that needs more than nothing sets its own policy."""
TLS_ONLY = ("strict-transport-security", "max-age=31536000")


class HardenedAnswers:
    """ASGI middleware: puts the headers on every answer that does not set them itself.

    Args:
        app: what answers.
        private: path prefixes whose answers are stored nowhere.
        is_public_tls: whether clients reach this server by TLS, whoever ends it.
    """

    def __init__(
        self, app: ASGIApp, *, private: Sequence[str] = (), is_public_tls: bool = False
    ) -> None:
        self._app = app
        self._private = tuple(private)
        self._is_public_tls = is_public_tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; see the class."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._is_public_tls:  # who ends TLS in front of this server speaks plain HTTP to it
            scope = {**scope, "scheme": "https"}

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._harden(scope, MutableHeaders(scope=message))
            await send(message)

        await self._app(scope, receive, hardened)

    def _harden(self, scope: Scope, answer: MutableHeaders) -> None:
        wanted = list(_ON_ALL)
        if answer.get("content-type", "").startswith("text/html"):
            wanted += _ON_PAGES
        if scope["path"].startswith(self._private):
            wanted.append(("cache-control", "no-store"))
        if scope.get("scheme") == "https" and not _is_loopback(scope):
            wanted.append(TLS_ONLY)
        for name, value in wanted:
            answer.setdefault(name, value)


def _is_loopback(scope: Scope) -> bool:
    """A browser would demand TLS of every other server on its own machine from then on."""
    authority = parse_authority(Headers(scope=scope).get("host", "").encode("latin-1"))
    return authority is None or authority.host in LOOPBACK_NAMES
