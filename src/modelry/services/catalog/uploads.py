"""Uploads: files that arrive in pieces, survive a crash, and go on from where they are."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from modelry.domain.access import Permission, Principal
from modelry.domain.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    QuotaExceeded,
)
from modelry.manifest.digests import check_digest
from modelry.services.catalog.ports import (
    Blob,
    BlobRecord,
    BlobStore,
    CatalogRecords,
    CatalogStore,
    UploadRecord,
)
from modelry.services.catalog.quarantine import Quarantine

EXPIRY = timedelta(days=1)
"""An upload that did not grow for so long is discarded."""
MAX_OPEN_UPLOADS = 256
COPIES = 2
"""An upload is read back and written once more when it is complete."""
SPARE_BYTES = 256 * 2**20
"""Room on the disk that uploads leave for the database and logs."""


@dataclass(frozen=True, slots=True)
class Upload:
    """How far an upload is: `offset` of `size_bytes` bytes are there.

    `digest` is set when all bytes are there and checked; it then stands for the content in
    `register`. `expires_at` is when the upload is discarded if it does not grow.
    """

    upload_id: str
    size_bytes: int
    offset: int
    digest: str | None
    created_at: datetime
    expires_at: datetime


class Uploads:
    """Use cases on uploads.

    Args:
        store: keeps what uploads there are.
        blobs: keeps their bytes, and alone knows how many there are.
        clock: gives the time.
        max_bytes: the largest file.
        quarantine: told what was kept anew.
        storage_limit: how many bytes a tenant's contents may have together, None for any.
    """

    def __init__(
        self,
        store: CatalogStore,
        blobs: BlobStore,
        clock: Callable[[], datetime],
        max_bytes: int,
        quarantine: Quarantine,
        *,
        storage_limit: Callable[[str], int | None] = lambda _: None,
    ) -> None:
        self._storage_limit = storage_limit
        self._quarantine = quarantine
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._max_bytes = max_bytes

    def begin(self, principal: Principal, size_bytes: int, digest: str | None = None) -> Upload:
        """Announce a file, or go on with it: the same caller's open upload of it is given again.

        Args:
            principal: who asks.
            size_bytes: how many bytes it has.
            digest: what its content shall be; if the tenant has it already the upload is
                complete at once.

        Raises:
            InvalidInput: no size, or not a digest.
            PayloadTooLarge: more than a file may have.
            QuotaExceeded: too many uploads are open, or the tenant's storage has no room.
            Overloaded: the disk has no room for it.
        """
        principal.require(Permission.MODELS_WRITE)
        self._check_size(size_bytes)
        if digest is not None:
            check_digest(digest)
        now = self._clock()
        is_kept = digest is not None and self._is_kept(principal.tenant_id, digest, size_bytes)
        if not is_kept:
            self._check_room(size_bytes)
        record = UploadRecord(
            upload_id=secrets.token_hex(16),
            size_bytes=size_bytes,
            promised_digest=digest,
            digest=digest if is_kept else None,
            created_at=now,
            created_by=principal.key_id,
        )

        limit = None if is_kept else self._storage_limit(principal.tenant_id)

        def work(records: CatalogRecords) -> UploadRecord:
            open_uploads = [one for one in records.uploads.all() if one.digest is None]
            for one in open_uploads:
                if digest is not None and not is_kept and _is_same(one, record):
                    return one
            if len(open_uploads) >= MAX_OPEN_UPLOADS:
                raise QuotaExceeded(
                    f"{MAX_OPEN_UPLOADS} uploads are open, which is the most a tenant can have. "
                    "Finish or abort some.",
                    retry_after_s=60,
                )
            coming = sum(one.size_bytes for one in open_uploads) + size_bytes
            _check_storage(records, None if is_kept else coming, limit)
            if record.digest is not None:
                records.blobs.add(BlobRecord(record.digest, size_bytes, now))
            records.uploads.put(record)
            return record

        begun = self._store.write(principal.tenant_id, work)
        return self._told(principal.tenant_id, begun)

    def get(self, principal: Principal, upload_id: str) -> Upload:
        """How far an upload is; completes one whose bytes were all there when the server died.

        Raises:
            NotFound: no such upload, or it was aborted or discarded.
            DigestMismatch: the bytes are not what was promised; the upload starts again at 0.
        """
        principal.require(Permission.MODELS_WRITE)
        record = self._find(principal.tenant_id, upload_id)
        with suppress(Conflict):  # another request is completing it
            return self._settled(principal.tenant_id, record)
        return self._told(principal.tenant_id, record)

    def append(
        self, principal: Principal, upload_id: str, offset: int, chunks: Iterable[bytes]
    ) -> Upload:
        """Add bytes; the last ones complete the upload.

        Bytes that came before `chunks` raised (the sender went away) are kept.

        Args:
            principal: who asks.
            upload_id: the upload.
            offset: where the bytes belong: how many are there already.
            chunks: the bytes, in pieces of any size.

        Raises:
            NotFound: no such upload.
            Conflict: `offset` is not where the upload ends, or another request is appending.
            PayloadTooLarge: more bytes than announced; none of them are kept.
            DigestMismatch: the bytes are not what was promised; the upload starts again at 0.
        """
        principal.require(Permission.MODELS_WRITE)
        tenant_id = principal.tenant_id
        record = self._find(tenant_id, upload_id)
        upload = self._settled(tenant_id, record)
        if upload.digest is not None:
            if offset == record.size_bytes:
                return upload
            raise Conflict(f"Upload '{upload_id}' is complete.", param="offset")
        held = self._blobs.append(tenant_id, upload_id, offset, chunks, record.size_bytes)
        if held < record.size_bytes:
            return self._told(tenant_id, record)
        return self._complete(tenant_id, record)

    def abort(self, principal: Principal, upload_id: str) -> None:
        """Forget an upload; a content that it completed stays until nobody needs it.

        Raises:
            NotFound: no such upload.
        """
        principal.require(Permission.MODELS_WRITE)
        if not self._store.write(
            principal.tenant_id, lambda records: records.uploads.delete(upload_id)
        ):
            raise _no_upload(upload_id)
        self._blobs.discard(principal.tenant_id, upload_id)

    def keep(self, tenant_id: str, chunks: Iterable[bytes], digest: str | None = None) -> Blob:
        """Keep a content that this server itself has, such as a fetched file.

        Raises:
            QuotaExceeded: the tenant's storage has no room for it; nothing refers to it then.
        """
        limit = self._storage_limit(tenant_id)
        blob = self._blobs.put(tenant_id, chunks, limit_bytes=self._max_bytes, digest=digest)
        now = self._clock()

        def work(records: CatalogRecords) -> bool:
            if records.blobs.find(blob.digest) is None:
                _check_storage(records, blob.size_bytes, limit)
            return _keep(records, blob, now)

        was_damaged = self._store.write(tenant_id, work)
        self._quarantine.kept(tenant_id, blob.digest, was_damaged=was_damaged)
        return blob

    def check_room(self, tenant_id: str, size_bytes: int) -> None:
        """See that a new content of this size can be kept, before its bytes come.

        Raises:
            PayloadTooLarge: more than a file may have.
            QuotaExceeded: the tenant's storage has no room for it.
            Overloaded: the disk has no room for it.
        """
        self._check_size(size_bytes)
        self._check_room(size_bytes)
        limit = self._storage_limit(tenant_id)
        self._store.read(tenant_id, lambda records: _check_storage(records, size_bytes, limit))

    def size_of(self, tenant_id: str, digest: str) -> int | None:
        """How many bytes a content has; None if the tenant has none such."""
        found = self._store.read(tenant_id, lambda records: records.blobs.find(digest))
        return None if found is None else found.size_bytes

    # ---- inside -----------------------------------------------------------------------------

    def _settled(self, tenant_id: str, record: UploadRecord) -> Upload:
        """Completes an upload whose bytes are all there; tells how far it is otherwise."""
        promised = record.promised_digest
        upload = self._told(tenant_id, record)
        if upload.digest is not None:
            return upload
        if upload.offset == record.size_bytes:
            return self._complete(tenant_id, record)
        if promised is not None and self._is_kept(tenant_id, promised, record.size_bytes):
            settled = self._commit(tenant_id, record, Blob(promised, record.size_bytes))
            self._blobs.discard(tenant_id, record.upload_id)
            return settled
        return upload

    def _complete(self, tenant_id: str, record: UploadRecord) -> Upload:
        """Make the bytes a content first, then commit the rows that say so."""
        blob = self._blobs.finish(tenant_id, record.upload_id, record.promised_digest)
        return self._commit(tenant_id, record, blob)

    def _commit(self, tenant_id: str, record: UploadRecord, blob: Blob) -> Upload:
        done = replace(record, digest=blob.digest)
        now = self._clock()

        def work(records: CatalogRecords) -> bool:
            was_damaged = _keep(records, blob, now)
            if records.uploads.find(record.upload_id) is not None:
                records.uploads.put(done)
            return was_damaged

        was_damaged = self._store.write(tenant_id, work)
        self._quarantine.kept(tenant_id, blob.digest, was_damaged=was_damaged)
        return self._told(tenant_id, done)

    def _find(self, tenant_id: str, upload_id: str) -> UploadRecord:
        found = self._store.read(tenant_id, lambda records: records.uploads.find(upload_id))
        if found is None:
            raise _no_upload(upload_id)
        return found

    def _told(self, tenant_id: str, record: UploadRecord) -> Upload:
        offset, last = record.size_bytes, record.created_at
        if record.digest is None:
            partial = self._blobs.partial(tenant_id, record.upload_id)
            offset = 0 if partial is None else partial.size_bytes
            last = last if partial is None else max(last, partial.modified_at)
        return Upload(
            upload_id=record.upload_id,
            size_bytes=record.size_bytes,
            offset=offset,
            digest=record.digest,
            created_at=record.created_at,
            expires_at=last + EXPIRY,
        )

    def _is_kept(self, tenant_id: str, digest: str, size_bytes: int) -> bool:
        """Whether the promised content is there, and sound as far as is known; if so it is safe
        from the collector for now.
        """
        known = self._store.read(tenant_id, lambda records: records.blobs.find(digest))
        if known is not None and known.damaged_at is not None:
            return False
        blob = self._blobs.find(tenant_id, digest)
        return (
            blob is not None
            and blob.size_bytes == size_bytes
            and self._blobs.touch(tenant_id, digest)
        )

    def _check_size(self, size_bytes: int) -> None:
        if type(size_bytes) is not int or size_bytes < 1:
            raise InvalidInput(
                f"An upload of {size_bytes!r} bytes is not possible; announce the file's size, at "
                "least 1 byte.",
                param="size_bytes",
            )
        if size_bytes > self._max_bytes:
            raise PayloadTooLarge(
                f"The file has {size_bytes} bytes; this server takes at most {self._max_bytes}. "
                "An operator can raise the limit (MODELRY_MAX_UPLOAD_BYTES).",
                param="size_bytes",
            )

    def _check_room(self, size_bytes: int) -> None:
        free = self._blobs.free_bytes()
        if COPIES * size_bytes + SPARE_BYTES > free:
            raise Overloaded(
                f"The server's disk has no room for {COPIES * size_bytes} more bytes, which an "
                "upload needs while it is completed. Free space on it and try again.",
                param="size_bytes",
                retry_after_s=300,
            )


def _keep(records: CatalogRecords, blob: Blob, now: datetime) -> bool:
    """Note that a content was kept just now; whether it was damaged before."""
    known = records.blobs.find(blob.digest)
    records.blobs.add(BlobRecord(blob.digest, blob.size_bytes, now))
    return known is not None and known.damaged_at is not None


def _check_storage(records: CatalogRecords, coming: int | None, limit: int | None) -> None:
    """Refuse `coming` bytes more than the tenant may keep; None for nothing new."""
    if coming is None or limit is None:
        return
    held = records.blobs.total_bytes()
    if held + coming > limit:
        raise QuotaExceeded(
            f"The tenant's files have {held} bytes and {coming} more are announced; its limit is "
            f"{limit}. Delete versions that nobody needs, or ask for a higher limit.",
            param="storage_bytes",
        )


def _is_same(one: UploadRecord, other: UploadRecord) -> bool:
    """Whether two uploads are the same caller's of the same promised content."""
    return (one.promised_digest, one.size_bytes, one.created_by) == (
        other.promised_digest,
        other.size_bytes,
        other.created_by,
    )


def _no_upload(upload_id: str) -> NotFound:
    return NotFound(
        f"Upload '{upload_id[:80]}' does not exist; it may have been aborted, or discarded "
        "because it did not grow for a day. Begin a new one.",
        param="upload_id",
    )
