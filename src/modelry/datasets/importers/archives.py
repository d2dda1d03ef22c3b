"""Zip files, read in place: nothing is unpacked to a disk, names and sizes are checked first."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from modelry.datasets.importers.streams import Buffered, Unpacking
from modelry.domain.errors import InvalidInput

MAX_ENTRIES = 500_000
"""An entry takes about 600 bytes of memory while its archive is read."""

MAX_DIRECTORY_BYTES = 128 * 2**20
MAX_NAME = 1000
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_LONGEST_COMMENT = 65_535
_LOCAL_HEADER_BYTES = 30
_IS_ENCRYPTED = 0x1
_LINK_TYPE = 0o120000
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in an archive; `size_bytes` is what it says to unpack to."""

    name: str
    size_bytes: int


class Archive:
    """An open zip file whose entries were checked.

    Attributes:
        name: of the file, for messages.
        entries: its files, without folders, in the order of its directory.
    """

    def __init__(self, name: str, archive: zipfile.ZipFile, size_bytes: int) -> None:
        self.name = name
        self._archive = archive
        self._infos: dict[str, zipfile.ZipInfo] = {}
        _refuse_overlaps(name, archive.infolist(), size_bytes)
        for info in archive.infolist():
            _check_entry(name, info)
            if info.is_dir():
                continue
            if info.filename in self._infos:
                raise refusal(name, f"it has two entries '{info.filename}'")
            self._infos[info.filename] = info
        self.entries: Sequence[Entry] = [
            Entry(one.filename, one.file_size) for one in self._infos.values()
        ]

    def __contains__(self, entry: object) -> bool:
        return entry in self._infos

    def size_of(self, entry: str) -> int:
        """What an entry says to unpack to, in bytes."""
        return self._infos[entry].file_size

    def open(self, entry: str) -> Buffered:
        """An entry's bytes as a stream; reading raises `InvalidInput` where it is damaged."""
        info = self._infos[entry]
        try:
            inner: IO[bytes] = self._archive.open(info)
        except _DAMAGE:
            raise refusal(self.name, f"its entry '{entry}' is damaged") from None
        place = f"{self.name}: {entry}"
        return io.BufferedReader(Unpacking(inner, place, info.compress_size), 2**18)

    def read(self, entry: str, limit: int) -> bytes:
        """An entry's bytes.

        Raises:
            InvalidInput: it is damaged, or larger than `limit` bytes.
        """
        with self.open(entry) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise refusal(self.name, f"its entry '{entry}' has more than {limit} bytes")
        return data


@contextmanager
def open_archive(path: Path, name: str) -> Iterator[Archive]:
    """A zip file.

    Raises:
        InvalidInput: not one, damaged, encrypted, too many entries, or entries that point out of
            it, lie over each other or are links.
    """
    with path.open("rb") as file:
        _check_directory(file, name)
        try:
            archive = zipfile.ZipFile(file)
        except _DAMAGE:
            raise refusal(name, "it is no zip archive, or is damaged or cut off") from None
        with archive:
            yield Archive(name, archive, path.stat().st_size)


def refusal(name: str, reason: str) -> InvalidInput:
    """That an archive cannot be used."""
    return InvalidInput(f"The archive '{name}' cannot be read: {reason}.", param=name)


def _check_directory(file: IO[bytes], name: str) -> None:
    """Bound the directory before `zipfile` reads it whole."""
    size = file.seek(0, io.SEEK_END)
    span = min(size, _END.size + _LONGEST_COMMENT)
    file.seek(size - span)
    tail = file.read(span)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise refusal(name, "it is no zip archive, or is damaged or cut off")
    fields = _END.unpack_from(tail, at)
    entries, directory = fields[4], fields[5]
    wide_at = size - span + at - _LOCATOR_64.size - _END_64.size
    if wide_at >= 0:  # where `zipfile` looks for the wide form of the same record
        file.seek(wide_at)
        fields = _END_64.unpack(file.read(_END_64.size))
        if fields[0] == b"PK\x06\x06" and file.read(4) == b"PK\x06\x07":
            entries, directory = fields[7], fields[8]
    file.seek(0)
    limit = min(MAX_DIRECTORY_BYTES, size)
    if entries > MAX_ENTRIES or directory > limit:
        raise refusal(
            name,
            f"its directory has {entries} entries in {directory} bytes; at most {MAX_ENTRIES} "
            f"entries in {MAX_DIRECTORY_BYTES // 2**20} MiB are read. Send it as several archives",
        )


def _check_entry(archive: str, info: zipfile.ZipInfo) -> None:
    name = info.filename
    shown = name[:80]
    parts = name.rstrip("/").split("/")
    if (
        not name
        or len(name) > MAX_NAME
        or name.startswith("/")
        or "\\" in name
        or "\0" in name
        or any(part in ("", ".", "..") for part in parts)
        or (len(name) > 1 and name[1] == ":")
    ):
        raise refusal(archive, f"its entry '{shown}' has a name that points out of it")
    if info.flag_bits & _IS_ENCRYPTED:
        raise refusal(archive, f"its entry '{shown}' is encrypted; pack it without a password")
    if info.external_attr >> 16 & 0o170000 == _LINK_TYPE:
        raise refusal(archive, f"its entry '{shown}' is a link; pack the files themselves")
    if info.compress_type not in _METHODS:
        raise refusal(
            archive, f"its entry '{shown}' is packed in an unusual way; use stored or deflated"
        )


def _refuse_overlaps(name: str, infos: Sequence[zipfile.ZipInfo], size_bytes: int) -> None:
    """Entries that share bytes make small archives of endless content."""
    end = 0
    for info in sorted(infos, key=lambda one: one.header_offset):
        if info.header_offset < end:
            raise refusal(name, f"its entry '{info.filename[:80]}' lies over another one")
        end = info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size
    if end > size_bytes:
        raise refusal(name, "it is damaged or cut off")
