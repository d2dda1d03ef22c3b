"""Contents in encrypted files.

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

from modelry.adapters.blobs.content_file import (
    HEAD_BYTES,
    ContentFile,
    content_size,
    encrypted_content,
    head_of,
    new_file_key,
)
from modelry.adapters.blobs.durable import (
    Measured,
    create_folder,
    disk_full_told,
    exclusively,
    sync_folder,
    write_all,
)
from modelry.adapters.blobs.layout import Layout
from modelry.adapters.blobs.memory_files import MemoryFile, MemoryFiles, require_memory_files
from modelry.adapters.blobs.partial_file import PartialFile
from modelry.domain.errors import Conflict, DataDamaged, DigestMismatch, InvalidInput, NotFound
from modelry.manifest.digests import DIGEST_PATTERN, check_digest
from modelry.services.catalog.ports import Blob, Partial
from modelry.services.encryption.ports import Sealer


class FileBlobStore:
    """Implements `modelry.services.catalog.ports.BlobStore` in a folder.

    Any number of threads and processes may use the same folder.

    Args:
        root: the folder; made if it is not there.
        sealer: keeps the keys of the files.

    Raises:
        NotSupported: this system has no memory files.
    """

    def __init__(self, root: Path, sealer: Sealer) -> None:
        require_memory_files()
        self._root = root
        self._sealer = sealer
        self._memory_files = MemoryFiles()
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
        measured = Measured(chunks, limit_bytes)
        return self._encrypt(self._layout(tenant_id), tenant_id, measured, digest)

    def append(
        self, tenant_id: str, upload_id: str, offset: int, chunks: Iterable[bytes], size_bytes: int
    ) -> int:
        """See `BlobStore.append`."""
        path = self._layout(tenant_id).partial(upload_id)
        with disk_full_told(), _locked_partial(path, create=True) as file:
            partial = PartialFile(self._sealer, tenant_id, upload_id, file)
            held = partial.held()
            if offset != held:
                raise Conflict(
                    f"The upload has {held} bytes; bytes from offset {offset} do not continue "
                    f"it. Go on from offset {held}.",
                    param="offset",
                )
            return partial.append(chunks, size_bytes=size_bytes)

    def partial(self, tenant_id: str, upload_id: str) -> Partial | None:
        """See `BlobStore.partial`."""
        try:
            with _opened(self._layout(tenant_id).partial(upload_id), os.O_RDONLY) as file:
                modified_at = datetime.fromtimestamp(os.fstat(file).st_mtime, UTC)
                held = PartialFile(self._sealer, tenant_id, upload_id, file).held()
        except FileNotFoundError:
            return None
        return Partial(held, modified_at)

    def finish(self, tenant_id: str, upload_id: str, digest: str | None = None) -> Blob:
        """See `BlobStore.finish`."""
        layout = self._layout(tenant_id)
        path = layout.partial(upload_id)
        try:
            with disk_full_told(), _locked_partial(path, create=False) as file:
                partial = PartialFile(self._sealer, tenant_id, upload_id, file)
                # Read back from the file: bytes may have come over several runs of the server.
                measured = Measured(partial.chunks())
                try:
                    blob = self._encrypt(layout, tenant_id, measured, digest)
                except (DigestMismatch, DataDamaged):
                    path.unlink()
                    raise
                path.unlink()
        except FileNotFoundError:
            raise NotFound(f"Upload '{upload_id}' has no bytes yet.", param="upload_id") from None
        return blob

    def discard(self, tenant_id: str, upload_id: str) -> None:
        """See `BlobStore.discard`."""
        self._layout(tenant_id).partial(upload_id).unlink(missing_ok=True)

    def find(self, tenant_id: str, digest: str) -> Blob | None:
        """See `BlobStore.find`."""
        try:
            size = content_size(self._layout(tenant_id).content(digest).stat().st_size)
        except FileNotFoundError:
            return None
        return None if size is None else Blob(digest, size)

    def touch(self, tenant_id: str, digest: str) -> bool:
        """See `BlobStore.touch`."""
        layout = self._layout(tenant_id)
        with exclusively(layout.lock):
            try:
                os.utime(layout.content(digest))
            except FileNotFoundError:
                return False
        return True

    def open_sealed(self, tenant_id: str, digest: str) -> MemoryFile:
        """See `BlobStore.open_sealed`."""
        with self._content(tenant_id, digest) as content:

            def fill(descriptor: int) -> None:
                for chunk in content.read(0, content.size_bytes):
                    write_all(descriptor, chunk)

            return self._memory_files.open((tenant_id, digest), content.size_bytes, fill)

    def read(
        self, tenant_id: str, digest: str, start: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        """See `BlobStore.read`."""
        with self._content(tenant_id, digest) as content:
            size = content.size_bytes
        end = size if end is None else end
        if not 0 <= start <= end <= size:
            raise InvalidInput(
                f"Bytes {start}..{end} are not a range of a content of {size} bytes; expected "
                "0 <= start <= end <= size.",
                param="range",
            )
        return self._read(tenant_id, digest, start, end)

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

    def _encrypt(
        self, layout: Layout, tenant_id: str, chunks: Measured, promised: str | None
    ) -> Blob:
        """Keep `chunks` as a content."""
        temporary = layout.incoming / uuid.uuid4().hex
        file_key = new_file_key()
        try:
            with disk_full_told(), _opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
                # what the head is bound to is known when all has passed
                os.lseek(file, HEAD_BYTES, os.SEEK_SET)
                for segment in encrypted_content(file_key, chunks):
                    write_all(file, segment)
                _check_promise(chunks.digest, promised)
                os.lseek(file, 0, os.SEEK_SET)
                write_all(file, head_of(self._sealer, tenant_id, chunks.digest, file_key))
                self._publish(layout, temporary, file, chunks.digest)
            return Blob(chunks.digest, chunks.size_bytes)
        finally:
            temporary.unlink(missing_ok=True)

    @staticmethod
    def _publish(layout: Layout, temporary: Path, file: int, digest: str) -> None:
        """Give a complete file its name; the lock keeps the collector from taking it away.

        One that is there is replaced: it may be damaged.
        """
        os.fchmod(file, 0o400)
        os.fsync(file)
        target = layout.content(digest)
        with exclusively(layout.lock):
            create_folder(target.parent)
            temporary.rename(target)
            sync_folder(target.parent)

    @contextmanager
    def _content(self, tenant_id: str, digest: str) -> Iterator[ContentFile]:
        path = self._layout(tenant_id).content(digest)
        try:
            with _opened(path, os.O_RDONLY) as file:
                yield ContentFile(self._sealer, tenant_id, digest, file)
        except FileNotFoundError:
            raise NotFound(f"The content {digest} is not there.", param="digest") from None

    def _read(self, tenant_id: str, digest: str, start: int, end: int) -> Iterator[bytes]:
        with self._content(tenant_id, digest) as content:
            yield from content.read(start, end)


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


def _unlink_older(path: Path, than: datetime) -> bool:
    try:
        is_old = path.stat().st_mtime < than.timestamp()
    except FileNotFoundError:
        return False
    if is_old:
        path.unlink(missing_ok=True)
    return is_old
