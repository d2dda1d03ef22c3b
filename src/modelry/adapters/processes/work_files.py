"""Files that are handed to a process of work: sealed to read, and empty to write into."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from modelry.domain.errors import ModelryError, WorkFailed

_COPY_BYTES = 2**20
_NOEXEC_SEAL = 0x8
"""MFD_NOEXEC_SEAL: never a program; kernels before 6.3 do not know it."""
_NO_CHANGES = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def empty_place() -> int:
    """An empty memory file that a process may write into; the descriptor is the caller's."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("modelry-work", flags | _NOEXEC_SEAL)
    except OSError:
        return os.memfd_create("modelry-work", flags)


def seal(descriptor: int) -> None:
    """Let nobody change it any more.

    Raises:
        WorkFailed: somebody has it mapped to write.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _NO_CHANGES)
    except OSError as error:
        raise WorkFailed(
            f"The work kept hold of a file that it handed over ({error.strerror})."
        ) from None


def open_unchangeable(path: Path) -> int:
    """`path` open to be read, sealed: a copy in memory if it is no sealed memory file itself."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # files of disks have no seals
        if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE:
            return descriptor
    try:
        return _copied(descriptor)
    finally:
        os.close(descriptor)


def _copied(source: int) -> int:
    place = empty_place()
    try:
        while data := os.read(source, _COPY_BYTES):
            left = memoryview(data)
            while left:
                left = left[os.write(place, left) :]
        seal(place)
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _no_memory(error) from None
    finally:
        os.close(place)


def _no_memory(error: OSError) -> ModelryError:
    return WorkFailed(f"An input of the work could not be kept in memory ({error.strerror}).")
