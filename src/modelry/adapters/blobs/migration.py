"""Encrypts what an installation from before encryption kept in the clear.

Each file is encrypted beside the old one, which goes afterwards: killed at any point it goes on
from there at the next start.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from modelry.adapters.blobs.durable import exclusively
from modelry.adapters.blobs.file_store import FileBlobStore
from modelry.adapters.blobs.layout import Layout
from modelry.domain.errors import Conflict, DigestMismatch
from modelry.manifest.digests import DIGEST_PATTERN

log = logging.getLogger(__name__)

CHUNK_BYTES = 2**20


def encrypt_plain_files(root: Path, blobs: FileBlobStore) -> int:
    """Encrypt all that lies in the clear below `root`; how many files that were.

    Raises:
        Overloaded: the disk has no room for the encrypted copy of a file.
        KeyUnavailable: the keys cannot be had.
    """
    done = 0
    with exclusively(root / "migration.lock"):  # several servers may share the folder
        for folder in sorted(one for one in root.iterdir() if one.is_dir()):
            layout = Layout(root, folder.name)
            if layout.plain_contents.is_dir() or layout.plain_partials.is_dir():
                done += _encrypt_tenant(layout, folder.name, blobs)
    return done


def _encrypt_tenant(layout: Layout, tenant_id: str, blobs: FileBlobStore) -> int:
    contents = sorted(layout.plain_contents.glob("[0-9a-f][0-9a-f]/*"))
    partials = sorted(layout.plain_partials.glob("*"))
    log.info(
        "encrypting what tenant %s keeps: %d files and %d unfinished uploads",
        tenant_id, len(contents), len(partials),
    )  # fmt: skip
    try:
        for number, path in enumerate(contents, 1):
            _encrypt_content(path, tenant_id, blobs)
            log.info("encrypted %d of %d files of tenant %s", number, len(contents), tenant_id)
        for path in partials:
            _encrypt_partial(path, tenant_id, blobs)
    except Conflict as error:  # there is no such tenant any more
        log.warning("files of tenant %s stay as they are: %s", tenant_id, error.message)
        return 0
    for path in layout.incoming.glob("*"):  # what interrupted writes left, in the clear
        path.unlink()
    for folder in (*layout.plain_contents.glob("*"), layout.plain_contents, layout.plain_partials):
        with suppress(OSError):  # something else is in it
            folder.rmdir()
    return len(contents) + len(partials)


def _encrypt_content(path: Path, tenant_id: str, blobs: FileBlobStore) -> None:
    digest = f"sha256:{path.name}"
    if DIGEST_PATTERN.fullmatch(digest):
        try:
            blobs.put(tenant_id, _chunks(path, 0), limit_bytes=path.stat().st_size, digest=digest)
        except DigestMismatch:
            log.exception(
                "the content %s of tenant %s was damaged and is gone; upload the file again",
                digest, tenant_id,
            )  # fmt: skip
    path.unlink()


def _encrypt_partial(path: Path, tenant_id: str, blobs: FileBlobStore) -> None:
    size = path.stat().st_size
    partial = blobs.partial(tenant_id, path.name)
    held = 0 if partial is None else partial.size_bytes
    if held < size:
        blobs.append(tenant_id, path.name, held, _chunks(path, held), size)
    path.unlink()


def _chunks(path: Path, start: int) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
