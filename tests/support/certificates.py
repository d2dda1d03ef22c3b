"""Certificates of authorities that a test makes."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modelry.adapters.tls.issuing import OwnAuthority

NAMES = ("localhost", "127.0.0.1")


def issue(folder: Path, *, ago: timedelta = timedelta(0)) -> OwnAuthority:
    """A new authority and its certificate for this machine, made some time ago."""
    then = datetime.now(UTC) - ago
    authority = OwnAuthority(folder, NAMES, lambda: then)
    assert authority.renew()
    return authority


def replace_pair(target: Path, authority: OwnAuthority) -> None:
    """Put a pair of files in `target`, as a tool that renews certificates does."""
    for source, name in (
        (authority.key_file, "key.pem"),
        (authority.certificate_file, "cert.pem"),
    ):
        temporary = target / f".{name}"
        shutil.copy(source, temporary)
        temporary.replace(target / name)
