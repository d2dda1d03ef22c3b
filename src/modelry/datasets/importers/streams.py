"""Files as streams of bytes, unpacked on the way when they are gzip."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from modelry.domain.errors import InvalidInput

Buffered: TypeAlias = "io.BufferedReader[Any]"
_GZIP = b"\x1f\x8b"
FREE_BYTES = 2**30
"""How much a packed file may always unpack to."""

MAX_RATIO = 200
"""How many times its size a packed file may unpack to, beyond `FREE_BYTES`; text gives 3 to 20."""


def open_stream(path: Path, name: str) -> Buffered:
    """A file's bytes, unpacked if it is gzip by its content.

    Reading raises `InvalidInput` where the file is damaged or unpacks to too much.
    """
    with path.open("rb") as file:
        is_packed = file.read(2) == _GZIP
    if is_packed:
        inner = cast("IO[bytes]", gzip.GzipFile(path, "rb"))
        return io.BufferedReader(Unpacking(inner, name, path.stat().st_size), 2**20)
    return io.BufferedReader(io.FileIO(path), 2**20)


class Unpacking(io.RawIOBase):
    """A stream of unpacked bytes that ends a bomb, and tells damage as what it is.

    Args:
        inner: gives unpacked bytes.
        name: of the file, for messages.
        packed_bytes: its size as it is.
    """

    def __init__(self, inner: IO[bytes], name: str, packed_bytes: int) -> None:
        self._inner = inner
        self._name = name
        self._left = max(FREE_BYTES, packed_bytes * MAX_RATIO)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase.readinto`."""
        try:
            data = self._inner.read(len(buffer))
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, ValueError):
            raise InvalidInput(
                f"The file '{self._name}' is damaged or cut off: it cannot be unpacked to its end. "
                "Pack or send it again.",
                param=self._name,
            ) from None
        self._left -= len(data)
        if self._left < 0:
            raise InvalidInput(
                f"The file '{self._name}' unpacks to more than {MAX_RATIO} times its size. Send it "
                "unpacked, if it is no mistake.",
                param=self._name,
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the inner stream too."""
        self._inner.close()
        super().close()
