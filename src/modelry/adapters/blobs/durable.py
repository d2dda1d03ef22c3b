"""File operations that survive a crash, and what is told when the disk does not take them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from modelry.domain.errors import Overloaded, PayloadTooLarge

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def disk_full_told() -> Iterator[None]:
    """Turn "no space left" into an error for the caller; other failures are left as they are."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise Overloaded(
            "The server's disk is full, so the file cannot be saved. Free space on it and try "
            "again; an upload goes on from where it is.",
            retry_after_s=60,
        ) from error


@contextmanager
def exclusively(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`; across threads and processes, until the process dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_folder(path: Path) -> None:
    """Make a folder for its owner alone, durably; fine if it is there."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    sync_folder(path.parent)


def write_all(descriptor: int, chunk: bytes | memoryview) -> None:
    """Write every byte of `chunk`."""
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def too_much(limit_bytes: int) -> PayloadTooLarge:
    """What is told when more bytes come than may."""
    return PayloadTooLarge(
        f"More bytes were sent than the {limit_bytes} that were announced or are allowed."
    )


class Measured:
    """Chunks that pass through, counted and hashed.

    Args:
        chunks: what passes.
        limit_bytes: how many may; None for any number.
    """

    def __init__(self, chunks: Iterable[bytes], limit_bytes: int | None = None) -> None:
        self._chunks = chunks
        self._limit_bytes = limit_bytes
        self._state = hashlib.sha256()
        self.size_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        """The chunks.

        Raises:
            PayloadTooLarge: more than `limit_bytes`.
        """
        for chunk in self._chunks:
            self.size_bytes += len(chunk)
            if self._limit_bytes is not None and self.size_bytes > self._limit_bytes:
                raise too_much(self._limit_bytes)
            self._state.update(chunk)
            yield chunk

    @property
    def digest(self) -> str:
        """Of what has passed."""
        return "sha256:" + self._state.hexdigest()
