"""Which names this server answers to: what a `Host` header or an origin may say.

A page in a browser can point its own name at this server's address (DNS rebinding) and would then
be of one origin with it. Only names that are known to be this server's are answered.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from modelry.domain.errors import MalformedBody, Misdirected

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_WILDCARDS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on
_LABEL = rb"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_AUTHORITY = re.compile(
    rb"(?:(?P<name>%s(?:\.%s)*)\.?|\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\])(?::(?P<port>[0-9]{1,5}))?"
    % (_LABEL, _LABEL)
)
_MAX_NAME_CHARS = 253
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Authority:
    """A host (lower case; an IPv6 address without brackets, in its short form) and its port."""

    host: str
    port: int | None


def parse_authority(raw: bytes) -> Authority | None:
    """What `host[:port]` says, or None when it is nothing of the kind.

    User names, blanks, other letters than ASCII's and zones are nothing of the kind.
    """
    match = _AUTHORITY.fullmatch(raw)
    if match is None:
        return None
    port = None if match["port"] is None else int(match["port"])
    if port is not None and not 0 < port <= 65535:
        return None
    if match["ipv6"] is None:
        name = match["name"].decode().lower()
        return Authority(name, port) if len(name) <= _MAX_NAME_CHARS else None
    try:
        return Authority(str(ipaddress.IPv6Address(match["ipv6"].decode())), port)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class HostList:
    """The names that this server answers to.

    Attributes:
        names: hosts in lower case; `.example.com` stands for all below it, `*` for any.
        any_address: whether every IP address is answered to. No name can be pointed at this server
            that way: in the browser the page's own address would stand there.
    """

    names: frozenset[str]
    any_address: bool = False

    @classmethod
    def listening_on(
        cls, host: str, others: Iterable[str] = (), public_url: str | None = None
    ) -> HostList:
        """The names of a server.

        Args:
            host: what it listens on; every address when that is a wildcard.
            others: what the operator adds.
            public_url: under which URL clients know it, if under one of its own.
        """
        names = {*LOOPBACK_NAMES, *(name.lower().rstrip(".") for name in others)}
        if public_url is not None:
            names.add((urlsplit(public_url).hostname or "").lower())
        is_wildcard = host.strip("[]") in _WILDCARDS
        names.add(socket.gethostname().lower() if is_wildcard else _canonical(host))
        return cls(frozenset(names), is_wildcard)

    def has(self, host: str) -> bool:
        """Whether `host`, as `parse_authority` gives it, is one of the names."""
        names = self.names
        if host in names or "*" in names:
            return True
        parent = host.find(".")
        while parent >= 0:
            if host[parent:] in names:
                return True
            parent = host.find(".", parent + 1)
        return self.any_address and _is_address(host)

    def check(self, values: Collection[bytes], *, is_required: bool) -> Authority | None:
        """What the `Host` headers of one request say.

        Args:
            values: the headers' values.
            is_required: whether one must be there.

        Raises:
            MalformedBody: none, more than one, or one that is no host.
            Misdirected: another server's name.
        """
        if not values and not is_required:
            return None
        if len(values) != 1:
            found = "no Host header" if not values else f"{len(values)} Host headers"
            raise MalformedBody(f"The request has {found}; expected exactly one.", param="host")
        (value,) = values
        authority = parse_authority(value)
        if authority is None:
            raise MalformedBody(
                "The Host header is not of the form 'host' or 'host:port'.", param="host"
            )
        if not self.has(authority.host):
            raise Misdirected(
                "The Host header names another server. Use the address that this server listens "
                "on, or have its operator add the name to MODELRY_ALLOWED_HOSTS.",
                param="host",
            )
        return authority


def same_place(origin: bytes, authority: Authority | None) -> bool:
    """Whether an `Origin` header names the host and port that the request was sent to.

    The scheme may differ: who ends TLS in front of this server speaks plain HTTP to it.
    """
    scheme, separator, rest = origin.partition(b"://")
    default = _DEFAULT_PORTS.get(scheme.decode("latin-1").lower())
    parsed = parse_authority(rest)
    if not separator or default is None or parsed is None or authority is None:
        return False
    return parsed.host == authority.host and (parsed.port or default) == (authority.port or default)


def _canonical(host: str) -> str:
    bare = host.strip("[]").lower()
    return str(ipaddress.ip_address(bare)) if _is_address(bare) else bare.rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
