"""Contents in plain files.

Write order: temporary file, fsync, rename to its digest, fsync of the folder; the caller commits
its row afterwards. A crash at any point leaves a file that nobody refers to, never a reference
to a file that is not there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from modelry.adapters.blobs.durable import (
    create_folder,
    disk_full_told,
    exclusively,
    read_chunks,
    sync_folder,
    write_chunks,
)
from modelry.adapters.blobs.layout import Layout
from modelry.domain.errors import Conflict, DigestMismatch, InvalidInput, NotFound, PayloadTooLarge
from modelry.manifest.digests import DIGEST_PATTERN, check_digest, digest_of_file
from modelry.services.catalog.ports import Blob, Partial


class FileBlobStore:
    """Implements `modelry.services.catalog.ports.BlobStore` in a folder.

    Any number of threads and processes may use the same folder.

    Args:
        root: the folder; made if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: set[str] = set()
        root.parent.mkdir(parents=True, exist_ok=True)
        create_folder(root)

    def put(
        self,
        tenant_id: str,
        chunks: Iterable[bytes],
        *,
        limit_bytes: int,
        digest: str | None = None,
    ) -> Blob:
        """See `BlobStore.put`."""
        if digest is not None:
            check_digest(digest)
        layout = self._layout(tenant_id)
        temporary = layout.incoming / uuid.uuid4().hex
        try:
            with disk_full_told(), _opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
                size, found = write_chunks(
                    file, chunks, room_bytes=limit_bytes, limit_bytes=limit_bytes
                )
                _check_promise(found, digest)
                self._publish(layout, temporary, file, found)
            return Blob(found, size)
        finally:
            temporary.unlink(missing_ok=True)

    def append(
        self, tenant_id: str, upload_id: str, offset: int, chunks: Iterable[bytes], size_bytes: int
    ) -> int:
        """See `BlobStore.append`."""
        path = self._layout(tenant_id).partial(upload_id)
        with disk_full_told(), _locked_partial(path, create=True) as file:
            held = os.fstat(file).st_size
            if offset != held:
                raise Conflict(
                    f"The upload has {held} bytes; bytes from offset {offset} do not continue "
                    f"it. Go on from offset {held}.",
                    param="offset",
                )
            os.lseek(file, held, os.SEEK_SET)
            try:
                written, _ = write_chunks(
                    file, chunks, room_bytes=size_bytes - held, limit_bytes=size_bytes
                )
            except PayloadTooLarge:
                os.ftruncate(file, held)
                raise
        return held + written

    def partial(self, tenant_id: str, upload_id: str) -> Partial | None:
        """See `BlobStore.partial`."""
        try:
            status = self._layout(tenant_id).partial(upload_id).stat()
        except FileNotFoundError:
            return None
        return Partial(status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def finish(self, tenant_id: str, upload_id: str, digest: str | None = None) -> Blob:
        """See `BlobStore.finish`."""
        layout = self._layout(tenant_id)
        path = layout.partial(upload_id)
        try:
            with disk_full_told(), _locked_partial(path, create=False) as file:
                # Read back from the file: bytes may have come over several runs of the server.
                found = digest_of_file(path)
                try:
                    _check_promise(found, digest)
                except DigestMismatch:
                    path.unlink()
                    raise
                size = os.fstat(file).st_size
                self._publish(layout, path, file, found)
        except FileNotFoundError:
            raise NotFound(f"Upload '{upload_id}' has no bytes yet.", param="upload_id") from None
        return Blob(found, size)

    def discard(self, tenant_id: str, upload_id: str) -> None:
        """See `BlobStore.discard`."""
        self._layout(tenant_id).partial(upload_id).unlink(missing_ok=True)

    def find(self, tenant_id: str, digest: str) -> Blob | None:
        """See `BlobStore.find`."""
        try:
            return Blob(digest, self._layout(tenant_id).content(digest).stat().st_size)
        except FileNotFoundError:
            return None

    def touch(self, tenant_id: str, digest: str) -> bool:
        """See `BlobStore.touch`."""
        layout = self._layout(tenant_id)
        with exclusively(layout.lock):
            try:
                os.utime(layout.content(digest))
            except FileNotFoundError:
                return False
        return True

    def path(self, tenant_id: str, digest: str) -> Path:
        """See `BlobStore.path`."""
        path = self._layout(tenant_id).content(digest)
        if not path.is_file():
            raise NotFound(f"The content {digest} is not there.", param="digest")
        return path

    def read(
        self, tenant_id: str, digest: str, start: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        """See `BlobStore.read`."""
        path = self.path(tenant_id, digest)
        size = path.stat().st_size
        end = size if end is None else end
        if not 0 <= start <= end <= size:
            raise InvalidInput(
                f"Bytes {start}..{end} are not a range of a content of {size} bytes; expected "
                "0 <= start <= end <= size.",
                param="range",
            )
        return _read(path, start, end)

    def delete_older(self, tenant_id: str, digest: str, than: datetime) -> bool:
        """See `BlobStore.delete_older`."""
        layout = self._layout(tenant_id)
        path = layout.content(digest)
        with exclusively(layout.lock):
            return _unlink_older(path, than)

    def digests(self, tenant_id: str) -> Iterator[str]:
        """See `BlobStore.digests`."""
        for path in sorted(self._layout(tenant_id).contents.glob("[0-9a-f][0-9a-f]/*")):
            digest = f"sha256:{path.name}"
            if DIGEST_PATTERN.fullmatch(digest):
                yield digest

    def partials(self, tenant_id: str) -> Iterator[str]:
        """See `BlobStore.partials`."""
        yield from sorted(path.name for path in self._layout(tenant_id).partials.iterdir())

    def delete_incoming(self, tenant_id: str, than: datetime) -> int:
        """See `BlobStore.delete_incoming`."""
        incoming = self._layout(tenant_id).incoming
        return sum(_unlink_older(path, than) for path in incoming.iterdir())

    def free_bytes(self) -> int:
        """See `BlobStore.free_bytes`."""
        return shutil.disk_usage(self._root).free

    def _layout(self, tenant_id: str) -> Layout:
        layout = Layout(self._root, tenant_id)
        if tenant_id not in self._known:
            layout.create()
            self._known.add(tenant_id)
        return layout

    @staticmethod
    def _publish(layout: Layout, temporary: Path, file: int, digest: str) -> None:
        """Give a complete file its name; the lock keeps the collector from taking it away."""
        os.fchmod(file, 0o400)
        os.fsync(file)
        target = layout.content(digest)
        with exclusively(layout.lock):
            if target.is_file() and target.stat().st_size == os.fstat(file).st_size:
                os.utime(target)
                temporary.unlink()
                return
            create_folder(target.parent)
            temporary.rename(target)
            sync_folder(target.parent)


def _check_promise(found: str, promised: str | None) -> None:
    if promised is not None and found != promised:
        raise DigestMismatch(
            f"The bytes have the digest {found}, not the promised {promised}: they were damaged "
            "on the way, or the file changed meanwhile. Send the file again.",
            param="digest",
        )


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _locked_partial(path: Path, *, create: bool) -> Iterator[int]:
    """Open a partial content for one writer; the lock goes with its process."""
    busy = Conflict(
        "Another request is sending bytes of this upload; wait for it to end, ask how far the "
        "upload is, and go on from there.",
        retry_after_s=1,
    )
    with _opened(path, os.O_RDWR | (os.O_CREAT if create else 0)) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        # Between open and lock the file may have been finished or discarded.
        try:
            is_current = path.stat().st_ino == os.fstat(file).st_ino
        except FileNotFoundError:
            is_current = False
        if not is_current:
            raise busy
        yield file


def _read(path: Path, start: int, end: int) -> Iterator[bytes]:
    with _opened(path, os.O_RDONLY) as file:
        yield from read_chunks(file, start, end)


def _unlink_older(path: Path, than: datetime) -> bool:
    try:
        is_old = path.stat().st_mtime < than.timestamp()
    except FileNotFoundError:
        return False
    if is_old:
        path.unlink(missing_ok=True)
    return is_old
