"""Reads one file out of a wheel: nothing is unpacked beside it, nothing is installed."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from modelry.domain.errors import PayloadTooLarge, SourceUnavailable
from modelry.manifest.inspect.archives import open_archive
from modelry.manifest.inspect.window import ByteWindow, open_window
from modelry.manifest.nodes import did_you_mean, shorten

CHUNK_BYTES = 1024 * 1024
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def member_size(wheel: Path, name: str, member: str, max_bytes: int) -> int:
    """The size of `member` in bytes, after all that can be checked before reading it.

    Args:
        wheel: the wheel.
        name: what to call it in messages.
        member: the file's path inside.
        max_bytes: the largest size that is accepted.

    Raises:
        SourceUnavailable: there is no such file inside.
        PayloadTooLarge: it is too large.
        FileRefused: the wheel is damaged, or packed in a way that wheels are not.
    """
    with open_window(wheel, name) as window, open_archive(window) as archive:
        entry = _entry(window, archive, member)
    if entry.file_size > max_bytes:
        raise PayloadTooLarge(
            f"{shorten(member)} in {name} has {entry.file_size} bytes; at most {max_bytes} are "
            "accepted.",
            param="source",
        )
    return entry.file_size


def member_chunks(wheel: Path, name: str, member: str) -> Iterator[bytes]:
    """The content of `member`, never more than its entry says; its checksum is checked.

    Raises:
        FileRefused: the wheel is damaged.
    """
    # a generator, so that what fails at the reader's is not taken for damage of the archive
    with (
        open_window(wheel, name) as window,
        open_archive(window) as archive,
        archive.open(_entry(window, archive, member)) as file,
    ):
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _entry(window: ByteWindow, archive: zipfile.ZipFile, member: str) -> zipfile.ZipInfo:
    try:
        entry = archive.getinfo(member)
    except KeyError:
        names = archive.namelist()
        same = [path for path in names if path.rpartition("/")[2] == member.rpartition("/")[2]]
        hint = f" Did you mean '{same[0]}'?" if same else did_you_mean(member, names)
        raise SourceUnavailable(
            f"{window.name} holds no file {shorten(member)}.{hint}", param="source"
        ) from None
    if entry.is_dir() or entry.compress_type not in _COMPRESSIONS or entry.flag_bits & 1:
        raise window.refused(
            f"{shorten(member)} in it is a folder, encrypted, or compressed in a way that wheels "
            "are not."
        )
    return entry
