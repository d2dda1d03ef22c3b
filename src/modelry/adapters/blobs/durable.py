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

CHUNK_BYTES = 1024 * 1024
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


def write_chunks(
    descriptor: int, chunks: Iterable[bytes], *, room_bytes: int, limit_bytes: int
) -> tuple[int, str]:
    """Write `chunks` at the descriptor's position; bytes written and their digest.

    Args:
        descriptor: where to.
        chunks: the bytes; at most one chunk is held at a time.
        room_bytes: how many bytes may be written.
        limit_bytes: what the error names as the limit of the whole.

    Raises:
        PayloadTooLarge: there are more than `room_bytes`.
    """
    state = hashlib.sha256()
    done = 0
    for chunk in chunks:
        done += len(chunk)
        if done > room_bytes:
            raise PayloadTooLarge(
                f"More bytes were sent than the {limit_bytes} that were announced or are allowed."
            )
        state.update(chunk)
        write_all(descriptor, chunk)
    return done, "sha256:" + state.hexdigest()


def read_chunks(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    """The bytes `start`..`end` of an open file, in chunks."""
    while start < end:
        chunk = os.pread(descriptor, min(CHUNK_BYTES, end - start), start)
        if not chunk:
            return
        yield chunk
        start += len(chunk)
