"""A file read through one small chunk: constant memory, every read within bounds.

Reads with `pread` instead of a memory map: a file that shrinks under a map kills the process.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelry.domain.errors import FileRefused

CHUNK_BYTES = 64 * 1024
MAX_READ_BYTES = 64 * 1024 * 1024


class ByteWindow:
    """Random access to an open file; all offsets and counts in bytes.

    `name` is what the file is called towards the user.
    """

    __slots__ = ("_base", "_chunk", "_descriptor", "name", "size")

    def __init__(self, descriptor: int, size: int, name: str) -> None:
        self._descriptor = descriptor
        self._chunk = b""
        self._base = 0
        self.size = size
        self.name = name

    def refused(self, message: str) -> FileRefused:
        """An error about this file."""
        return FileRefused(f"File '{self.name}': {message}", param=self.name)

    def truncated(self, what: str) -> FileRefused:
        """An error that says the file ends before `what` does."""
        return self.refused(
            f"it ends in the middle of {what}: the file is cut off or damaged ({self.size} bytes "
            "are here). Fetch it again and compare its sha256."
        )

    def read(self, offset: int, count: int, what: str = "a value") -> bytes:
        """Exactly `count` bytes at `offset`.

        Raises:
            FileRefused: the file ends before, or `count` is beyond 64 MiB.
        """
        if count < 0 or offset < 0 or offset + count > self.size:
            raise self.truncated(what)
        if count > MAX_READ_BYTES:
            raise self.refused(f"{what} takes {count} bytes; at most {MAX_READ_BYTES} are read.")
        if count > CHUNK_BYTES:
            return self._pread(offset, count, what)
        chunk, start = self.chunk_at(offset, count)
        return chunk[start : start + count]

    def chunk_at(self, offset: int, need: int) -> tuple[bytes, int]:
        """A chunk that holds `offset`, and the place of `offset` in it.

        At least `need` bytes follow (`need` <= 64 KiB), fewer only where the file ends.
        """
        start = offset - self._base
        held = len(self._chunk)
        if start < 0 or start + need > held:
            wanted = min(CHUNK_BYTES, self.size - offset)
            if start < 0 or start >= held or self._base + held < self.size:
                self._chunk = self._pread(offset, wanted, "a value") if wanted > 0 else b""
                self._base = offset
                start = 0
        return self._chunk, start

    def _pread(self, offset: int, count: int, what: str) -> bytes:
        parts: list[bytes] = []
        while count:
            part = os.pread(self._descriptor, count, offset)
            if not part:
                raise self.truncated(what)
            parts.append(part)
            offset += len(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


_OPEN_FILES = Path("/proc/self/fd")
"""Where a process finds what it has open; what stands there is always a link."""


@contextmanager
def open_window(path: Path, name: str) -> Iterator[ByteWindow]:
    """Open a regular file for reading; also one that this process has open, by its path in /proc.

    Raises:
        FileRefused: it is missing, unreadable, a link, a folder, a pipe or a device.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    if path.parent != _OPEN_FILES:
        flags |= os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise FileRefused(
            f"File '{name}' cannot be opened ({os.strerror(error.errno or 0)}); expected a regular "
            "file, not a symbolic link.",
            param=name,
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FileRefused(
                f"File '{name}' is a folder, pipe or device; expected a regular file.", param=name
            )
        yield ByteWindow(descriptor, status.st_size, name)
    finally:
        os.close(descriptor)
