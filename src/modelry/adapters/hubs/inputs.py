"""Inputs of predictions behind URLs that any caller may have named."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

import httpx2

from modelry.adapters.hubs.guard import AddressGuard
from modelry.adapters.hubs.types import FetchPolicy
from modelry.adapters.hubs.web import WebClient
from modelry.domain.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelryError,
    PayloadTooLarge,
    SourceUnavailable,
)

MAX_BYTES = 16 * 2**20
MAX_URL_CHARS = 2048
CONNECT_S = 5.0
STALL_S = 5.0
HTTPS_PORT = 443
DURATION_S = 15.0
_TYPES = ("image/", "application/octet-stream", "binary/octet-stream")


@dataclass(frozen=True, slots=True)
class InputGuard(AddressGuard):
    """What a caller's URL may lead to: public addresses of the hosts that the operator names.

    `hosts` may hold `.example.com` for all names below it, and `*` for any.
    """

    hosts: frozenset[str] = frozenset()

    def check_url(self, url: str) -> tuple[str, str, int]:
        """See `AddressGuard.check_url`; also asked of each redirect.

        Raises:
            InvalidInput: scheme, port or host are not allowed.
        """
        try:
            scheme, host, port = AddressGuard.check_url(self, url)
        except (InvalidInput, ValueError):
            scheme, host, port = "", "", 0
        if not scheme or (port != HTTPS_PORT and not self.allow_plain_http):
            raise InvalidInput(
                "The URL (or one that it redirects to) is not of https:// on its usual port, which "
                "is all that inputs are fetched from. Send the bytes instead."
            )
        if not self._is_named(host.lower().rstrip(".")):
            raise InvalidInput(
                "The URL's host (or one that it redirects to) is not among those that this "
                "server's operator allows (MODELRY_ALLOW_INPUT_URLS). Send the bytes instead."
            )
        return scheme, host, port

    def addresses(self, host: str, port: int) -> list[str]:
        """See `AddressGuard.addresses`.

        Raises:
            InvalidInput: no public address. Whether there is a private one is not told: a caller
                could ask for the names of the server's own network.
        """
        try:
            return AddressGuard.addresses(self, host, port)
        except (InvalidInput, SourceUnavailable):
            raise InvalidInput("The URL's host leads to no public address.") from None

    def _is_named(self, host: str) -> bool:
        parents = [host[at:] for at, sign in enumerate(host) if sign == "."]
        return "*" in self.hosts or host in self.hosts or any(one in self.hosts for one in parents)


class GuardedInputs:
    """Implements `InputFetcher`.

    Args:
        hosts: those that may be fetched from.
        policy: sizes and times, and for tests what addresses may be private.
    """

    def __init__(self, hosts: Collection[str], policy: FetchPolicy | None = None) -> None:
        self._policy = policy or FetchPolicy(
            max_bytes=MAX_BYTES,
            connect_timeout_s=CONNECT_S,
            stall_timeout_s=STALL_S,
            max_duration_s=DURATION_S,
        )
        self._guard = InputGuard(
            self._policy.allow_private_hosts, self._policy.allow_plain_http, frozenset(hosts)
        )

    def fetch(self, url: str, param: str) -> bytes:
        """See `InputFetcher.fetch`."""
        _check_form(url, param)
        web = WebClient(self._policy, guarded=True, guard=self._guard)
        try:
            return self._read(web, url)
        except httpx2.HTTPError:
            raise SourceUnavailable(
                f"The host of {param} does not answer as it must.", param=param
            ) from None
        except ModelryError as error:
            error.param = param
            raise
        finally:
            web.close()

    def _read(self, web: WebClient, url: str) -> bytes:
        deadline = time.monotonic() + self._policy.max_duration_s
        most = self._policy.max_bytes
        with web.get(url, {"Accept-Encoding": "identity", "Accept": "image/*"}) as response:
            _check_answer(response)
            parts, size = [], 0
            for chunk in response.iter_raw():
                size += len(chunk)
                if size > most:
                    raise PayloadTooLarge(
                        f"What the URL leads to is larger than {most} bytes, the most that is "
                        "fetched as an input."
                    )
                if time.monotonic() > deadline:
                    raise DeadlineExceeded(
                        f"What the URL leads to took longer than {self._policy.max_duration_s:g} s."
                    )
                parts.append(chunk)
        if not size:
            raise InvalidInput("The URL leads to nothing: the answer is empty.")
        return b"".join(parts)


def _check_form(url: str, param: str) -> None:
    try:
        parts = httpx2.URL(url)
        is_fine = bool(parts.host) and not parts.userinfo and url.isascii() and url.isprintable()
    except (httpx2.InvalidURL, ValueError):
        is_fine = False
    if not is_fine or len(url) > MAX_URL_CHARS:
        raise InvalidInput(
            f"{param} is no URL that can be fetched: expected https://, a host, no user name, at "
            f"most {MAX_URL_CHARS} characters.",
            param=param,
        )


def _check_answer(response: httpx2.Response) -> None:
    if response.status_code != 200:
        raise InvalidInput(f"The URL's host answered {response.status_code}; expected 200.")
    kind = response.headers.get("Content-Type", "").strip().lower()
    if not kind.startswith(_TYPES):
        raise InvalidInput("The URL leads to no image: its Content-Type is of another kind.")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise InvalidInput("The URL's host insists on compressing its answer.")
