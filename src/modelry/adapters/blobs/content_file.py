"""How a content lies in its file.

    magic            8 bytes
    sealed file key  bound to tenant and digest
    stream           see `streaming`, under the file key

Each file has a key of its own, sealed under its tenant's. So a content can be encrypted as it
comes, before its digest is known; and a file in the place of another one, of the same tenant or
of another, does not give up its key.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from modelry.adapters.blobs import streaming
from modelry.adapters.blobs.streaming import EncryptedStream, StreamDamagedError
from modelry.domain.errors import DataDamaged
from modelry.services.encryption.ports import Sealer
from modelry.services.encryption.service import SEAL_OVERHEAD_BYTES

MAGIC = b"MODELRY\x01"
SEALED_KEY_BYTES = SEAL_OVERHEAD_BYTES + streaming.KEY_BYTES
HEAD_BYTES = len(MAGIC) + SEALED_KEY_BYTES
_ASSOCIATED = b"modelry content"


def new_file_key() -> bytes:
    """A key for one file."""
    return os.urandom(streaming.KEY_BYTES)


def head_of(sealer: Sealer, tenant_id: str, digest: str, file_key: bytes) -> bytes:
    """What the file of a content begins with."""
    return MAGIC + sealer.seal(tenant_id, _purpose(digest), file_key)


def encrypted_content(file_key: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """What follows the head."""
    return streaming.encrypted(file_key, _ASSOCIATED, chunks)


def content_size(file_bytes: int) -> int | None:
    """How long a content is whose file is so long; None if no file is."""
    return streaming.plain_size(file_bytes - HEAD_BYTES)


class ContentFile:
    """An open file of a content.

    Args:
        sealer: opens the file's key.
        tenant_id: whose it shall be.
        digest: what it shall hold.
        descriptor: the open file; stays the caller's.

    Raises:
        DataDamaged: it is not that content's file, or was changed.
        KeyUnavailable: see `Sealer.unseal`.
    """

    def __init__(self, sealer: Sealer, tenant_id: str, digest: str, descriptor: int) -> None:
        self._digest = digest
        self._descriptor = descriptor
        head = os.pread(descriptor, HEAD_BYTES, 0)
        if not head.startswith(MAGIC):
            raise damaged(digest)
        try:
            file_key = sealer.unseal(tenant_id, _purpose(digest), head[len(MAGIC) :])
            size = os.fstat(descriptor).st_size - HEAD_BYTES
            self._stream = EncryptedStream(file_key, _ASSOCIATED, self._read_at, size)
        except (DataDamaged, StreamDamagedError):
            raise damaged(digest) from None

    @property
    def size_bytes(self) -> int:
        """How long the content is."""
        return self._stream.size_bytes

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes `start`..`end`, verified.

        Raises:
            DataDamaged: the file was changed.
        """
        try:
            yield from self._stream.read(start, end)
        except StreamDamagedError:
            raise damaged(self._digest) from None

    def _read_at(self, offset: int, count: int) -> bytes:
        return os.pread(self._descriptor, count, HEAD_BYTES + offset)


def damaged(digest: str) -> DataDamaged:
    """What is told of a content whose file was changed."""
    return DataDamaged(
        f"The content {digest} is damaged: its file was changed, cut off or swapped outside of "
        "Modelry. Upload the same file again; that mends it.",
        param="digest",
    )


def _purpose(digest: str) -> str:
    return f"content/{digest}"
