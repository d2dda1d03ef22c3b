"""HTTP towards an issuer: bounded in size and time, no redirects."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson

from modelry.domain.errors import SignInFailed, SourceUnavailable

MAX_BYTES = 2**20
TIMEOUT_S = 10.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class IssuerWeb:
    """Asks one issuer's addresses, which the operator trusts and which may be private."""

    def __init__(self, client: httpx2.Client | None = None) -> None:
        self._client = client or httpx2.Client(
            timeout=TIMEOUT_S, follow_redirects=False, headers={"User-Agent": "modelry"}
        )

    def get(self, url: str) -> dict[str, Any]:
        """The JSON object at `url`.

        Raises:
            SourceUnavailable: there is none.
        """
        status, answer = self._ask("GET", url)
        if status != 200 or not isinstance(answer, dict):
            raise _unavailable(f"it answered {status}, or no JSON object")
        return answer

    def post(
        self, url: str, form: Mapping[str, str], auth: tuple[str, str] | None
    ) -> dict[str, Any]:
        """The JSON object that a form is answered with.

        Raises:
            SignInFailed: the form is refused.
            SourceUnavailable: the issuer does not answer as it must.
        """
        status, answer = self._ask("POST", url, form, auth)
        if 400 <= status < 500:
            raise SignInFailed(
                "The issuer refused the code, or this server's client id and secret. Sign in "
                "again; if that fails too, tell the operator."
            )
        if status != 200 or not isinstance(answer, dict):
            raise _unavailable(f"it answered {status}, or no JSON object")
        return answer

    def _ask(
        self,
        method: str,
        url: str,
        form: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
    ) -> tuple[int, Any]:
        check_url(url)
        body = bytearray()
        try:
            with self._client.stream(
                method, url, data=form, auth=auth, headers={"Accept": "application/json"}
            ) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise _unavailable(f"its answer is larger than {MAX_BYTES} bytes")
            return response.status_code, orjson.loads(body)
        except httpx2.HTTPError:
            raise _unavailable("it cannot be reached") from None
        except orjson.JSONDecodeError:
            return response.status_code, None


def check_url(url: object) -> str:
    """`url`, if it is one that secrets may be sent to.

    Raises:
        SourceUnavailable: it is not `https://` (loopback may be `http://`).
    """
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        host = parts.hostname or ""
        is_fine = bool(host) and "@" not in parts.netloc and not parts.fragment
        is_fine = is_fine and (
            parts.scheme == "https" or (parts.scheme == "http" and _is_near(host))
        )
    except ValueError:
        is_fine = False
    if not is_fine:
        raise _unavailable("it names an address that is not https://")
    return str(url)


def _is_near(host: str) -> bool:
    if host in _LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _unavailable(reason: str) -> SourceUnavailable:
    return SourceUnavailable(
        f"The issuer does not answer as it must: {reason}. Try again later, or tell the operator.",
        retry_after_s=10,
    )
