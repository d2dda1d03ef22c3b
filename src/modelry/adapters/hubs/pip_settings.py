"""Which package indexes pip is configured with on this machine, in pip's own words."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_INDEX = "https://pypi.org/simple"
_TIMEOUT_S = 60.0
_SECTIONS = ("global", "download", ":env:")
"""Later ones win, as in pip."""


@dataclass(frozen=True, slots=True)
class PipSettings:
    """Where packages are looked for.

    `indexes` are URLs of simple indexes, in order, credentials and all: never to be told.
    `links` are folders, files or URLs of pages that list packages.
    """

    indexes: tuple[str, ...] = (DEFAULT_INDEX,)
    links: tuple[str, ...] = ()
    trusted_hosts: frozenset[str] = frozenset()
    ca_file: str | None = None
    proxy: str | None = None


def read_pip_settings() -> PipSettings:
    """The settings of `pip download`, from pip's files and `PIP_*` variables."""
    return settings_from(_listed_by_pip() or _listed_by_environment())


def settings_from(listed: Mapping[str, str]) -> PipSettings:
    """The settings that `pip config list` names as `section.key`."""
    values: dict[str, str] = {}
    for section in _SECTIONS:
        for name, value in listed.items():
            if name.startswith(section + "."):
                values[name.removeprefix(section + ".").replace("_", "-")] = value
    indexes = () if _is_true(values.get("no-index", "")) else _indexes(values)
    return PipSettings(
        indexes=indexes,
        links=tuple(values.get("find-links", "").split()),
        trusted_hosts=frozenset(values.get("trusted-host", "").split()),
        ca_file=values.get("cert") or None,
        proxy=values.get("proxy") or None,
    )


def _indexes(values: Mapping[str, str]) -> tuple[str, ...]:
    first = values.get("index-url") or DEFAULT_INDEX
    return tuple(dict.fromkeys([first, *values.get("extra-index-url", "").split()]))


def _listed_by_pip() -> dict[str, str]:
    """What `pip config list` prints, of this environment's pip or else the machine's."""
    for pip in ([sys.executable, "-m", "pip"], ["pip3"]):
        try:
            done = subprocess.run(  # noqa: S603 - fixed words
                [*pip, "config", "list"],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        return _parsed(done.stdout)
    return {}


def _parsed(listing: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in listing.splitlines():
        name, equals, literal = line.partition("=")
        if equals:
            try:
                found[name] = str(ast.literal_eval(literal))
            except (ValueError, SyntaxError):
                continue
    return found


def _listed_by_environment() -> dict[str, str]:
    return {
        f":env:.{name.removeprefix('PIP_').lower()}": value
        for name, value in os.environ.items()
        if name.startswith("PIP_")
    }


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("1", "true", "yes", "on", "y", "t")
