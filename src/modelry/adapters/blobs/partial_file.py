"""How an incomplete content lies in its file, which only ever grows at its end.

    magic            8 bytes
    sealed file key  bound to tenant and upload
    records          offset of their bytes (8), how many (4), nonce, ciphertext, tag, how many (4)

A record is written once, under a random nonce of 192 bits: one that a crash cut short is taken
away and written anew, and no nonce comes twice. The number at its end leads from the end of the
file to the last record, so that nobody need walk through all to see how far an upload is.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator

from modelry.adapters.blobs.content_file import SEALED_KEY_BYTES, new_file_key
from modelry.adapters.blobs.durable import too_much, write_all
from modelry.domain.errors import DataDamaged
from modelry.services.encryption.aead import OVERHEAD_BYTES, LongNonceAead
from modelry.services.encryption.ports import Sealer

MAGIC = b"MODELRYP"
HEAD_BYTES = len(MAGIC) + SEALED_KEY_BYTES
RECORD_BYTES = 2**20
"""The most that one record holds."""

_RECORD_HEAD = struct.Struct(">QI")
_RECORD_END = struct.Struct(">I")
_AROUND_BYTES = _RECORD_HEAD.size + OVERHEAD_BYTES + _RECORD_END.size


class PartialFile:
    """An open file of an incomplete content, locked by the caller if it is to grow.

    Args:
        sealer: seals and opens the file's key.
        tenant_id: whose upload it is.
        upload_id: which.
        descriptor: the open file; stays the caller's.
    """

    def __init__(self, sealer: Sealer, tenant_id: str, upload_id: str, descriptor: int) -> None:
        self._sealer = sealer
        self._tenant_id = tenant_id
        self._purpose = f"upload/{upload_id}"
        self._descriptor = descriptor
        self._aead: LongNonceAead | None = None

    def held(self) -> int:
        """How many bytes are there, whole and unchanged."""
        return self._end()[0]

    def append(self, chunks: Iterable[bytes], *, size_bytes: int) -> int:
        """Add `chunks`; how many bytes are there then. What came before they raised is kept.

        Raises:
            PayloadTooLarge: more than `size_bytes` in all; the file is as before.
        """
        held, end = self._end()
        os.ftruncate(self._descriptor, end)
        if end == 0:
            self._begin()
            end = HEAD_BYTES
        os.lseek(self._descriptor, end, os.SEEK_SET)
        for chunk in chunks:
            if held + len(chunk) > size_bytes:
                os.ftruncate(self._descriptor, end)
                raise too_much(size_bytes)
            for start in range(0, len(chunk), RECORD_BYTES):
                held += self._write(held, chunk[start : start + RECORD_BYTES])
        return held

    def chunks(self) -> Iterator[bytes]:
        """All bytes, record by record.

        Raises:
            DataDamaged: the file was changed.
        """
        offset, place = 0, HEAD_BYTES
        size = os.fstat(self._descriptor).st_size
        while place < size:
            chunk = self._record(place, offset)
            if chunk is None:
                raise _damaged()
            yield chunk
            offset += len(chunk)
            place += len(chunk) + _AROUND_BYTES

    def _begin(self) -> None:
        file_key = new_file_key()
        sealed = self._sealer.seal(self._tenant_id, self._purpose, file_key)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        write_all(self._descriptor, MAGIC + sealed)
        self._aead = LongNonceAead(file_key)

    def _cipher(self) -> LongNonceAead:
        if self._aead is None:
            head = os.pread(self._descriptor, HEAD_BYTES, 0)
            if not head.startswith(MAGIC):
                raise _damaged()
            try:
                file_key = self._sealer.unseal(self._tenant_id, self._purpose, head[len(MAGIC) :])
            except DataDamaged:
                raise _damaged() from None
            self._aead = LongNonceAead(file_key)
        return self._aead

    def _write(self, offset: int, chunk: bytes) -> int:
        head = _RECORD_HEAD.pack(offset, len(chunk))
        message = self._cipher().encrypt(chunk, head)
        write_all(self._descriptor, head + message + _RECORD_END.pack(len(chunk)))
        return len(chunk)

    def _end(self) -> tuple[int, int]:
        """How many bytes are there, and where in the file the next record belongs."""
        size = os.fstat(self._descriptor).st_size
        try:
            self._cipher()
        except DataDamaged:  # or not written to its end, by a crash
            return 0, 0
        last = self._last_record(size)
        if last is not None:
            return last, size
        offset, place = 0, HEAD_BYTES
        while (chunk := self._record(place, offset)) is not None:
            offset += len(chunk)
            place += len(chunk) + _AROUND_BYTES
        return offset, place

    def _last_record(self, size: int) -> int | None:
        """Where the bytes of the last record end; None if what is at the end is no record."""
        if size == HEAD_BYTES:
            return 0
        (count,) = _RECORD_END.unpack(os.pread(self._descriptor, 4, size - _RECORD_END.size))
        place = size - count - _AROUND_BYTES
        if place < HEAD_BYTES or count > RECORD_BYTES:
            return None
        offset, _ = _RECORD_HEAD.unpack(os.pread(self._descriptor, _RECORD_HEAD.size, place))
        chunk = self._record(place, offset)
        return None if chunk is None else offset + len(chunk)

    def _record(self, place: int, offset: int) -> bytes | None:
        """The bytes of the record at `place`; None if no whole one that begins there is."""
        head = os.pread(self._descriptor, _RECORD_HEAD.size, place)
        if len(head) < _RECORD_HEAD.size:
            return None
        begins, count = _RECORD_HEAD.unpack(head)
        if begins != offset or not 0 < count <= RECORD_BYTES:
            return None
        message = os.pread(
            self._descriptor, count + OVERHEAD_BYTES + _RECORD_END.size, place + len(head)
        )
        if message[-_RECORD_END.size :] != _RECORD_END.pack(count):
            return None
        if len(message) != count + OVERHEAD_BYTES + _RECORD_END.size:
            return None
        return self._cipher().decrypt(memoryview(message)[: -_RECORD_END.size], head)


def _damaged() -> DataDamaged:
    return DataDamaged(
        "What was uploaded so far is damaged: its file was changed outside of Modelry. It was "
        "discarded; upload the file from its beginning.",
        param="upload_id",
    )
