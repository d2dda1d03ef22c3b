"""A secret in a file that its owner alone can read."""

from __future__ import annotations

import os
import secrets
import stat
import uuid
from pathlib import Path

from modelry.domain.errors import Conflict

SECRET_BYTES = 32


def load_or_make_secret(
    path: Path,
    *,
    if_seen: str = "renew all API keys if somebody else could have read it",
    if_lost: str = "makes every API key invalid",
) -> bytes:
    """The 32 bytes in the file at `path`; made at random, durably, if there is none.

    Several processes may call this at once: all get the same bytes.

    Args:
        path: the file.
        if_seen: what to do when somebody read it.
        if_lost: what deleting it does.

    Raises:
        Conflict: the file holds something else, or others may read it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        _make(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        found = os.read(descriptor, SECRET_BYTES + 1)
    finally:
        os.close(descriptor)
    if stat.S_IMODE(mode) & 0o077:
        raise Conflict(
            f"The secret file '{path.name}' in the data folder may be read by others (mode "
            f"{stat.S_IMODE(mode):04o}). Give it the mode 0600, and {if_seen}."
        )
    if len(found) != SECRET_BYTES:
        raise Conflict(
            f"The secret file '{path.name}' in the data folder is damaged: expected "
            f"{SECRET_BYTES} bytes. Restore it from a backup; or delete it, which {if_lost}."
        )
    return found


def _make(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(SECRET_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return  # another process was first: its secret counts
    finally:
        temporary.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
