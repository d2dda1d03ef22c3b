"""Streams encrypted in segments: Tink's AES256_GCM_HKDF_1MB.

    header: 1 byte (its length, 40), salt of 32 bytes, nonce prefix of 7 bytes
    segments of 1 MiB, the first shorter by the header, the last one shorter or full;
    each is ciphertext and tag

Salt and associated data give the key of one stream (HKDF-SHA256); a segment's nonce is the
prefix, its number (4 bytes) and whether it is the last. So each can be read by itself, and none
can be changed, left out, moved or added without being noticed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
SEGMENT_BYTES = 2**20
HEADER_BYTES = 40
_SALT_BYTES = 32
_TAG_BYTES = 16
_PLAIN_BYTES = SEGMENT_BYTES - _TAG_BYTES
"""Of a segment other than the first."""

ReadAt = Callable[[int, int], bytes]
"""Gives up to `count` bytes at an offset; fewer only at the end."""


class StreamDamagedError(Exception):
    """The stream is not one that was written under this key for this purpose."""


def encrypted_size(plain_bytes: int) -> int:
    """How long a stream of so many bytes is."""
    segments = max(1, -(-(plain_bytes + HEADER_BYTES) // _PLAIN_BYTES))
    return HEADER_BYTES + plain_bytes + segments * _TAG_BYTES


def plain_size(encrypted_bytes: int) -> int | None:
    """How many bytes a stream of this length holds; None if no stream is that long."""
    segments = -(-encrypted_bytes // SEGMENT_BYTES)
    plain_bytes = encrypted_bytes - HEADER_BYTES - segments * _TAG_BYTES
    if plain_bytes < 0 or encrypted_size(plain_bytes) != encrypted_bytes:
        return None
    return plain_bytes


class _Segments:
    """The cipher of one stream."""

    def __init__(self, key: bytes, associated: bytes, header: bytes) -> None:
        if len(header) != HEADER_BYTES or header[0] != HEADER_BYTES:
            raise StreamDamagedError
        salt = header[1 : 1 + _SALT_BYTES]
        derived = HKDF(SHA256(), KEY_BYTES, salt, associated).derive(key)
        self._cipher = AESGCM(derived)
        self._prefix = header[1 + _SALT_BYTES :]

    def encrypt(self, number: int, plaintext: bytes | bytearray, *, is_last: bool) -> bytes:
        return self._cipher.encrypt(self._nonce(number, is_last), plaintext, None)

    def decrypt(self, number: int, segment: bytes, *, is_last: bool) -> bytes:
        try:
            return self._cipher.decrypt(self._nonce(number, is_last), segment, None)
        except InvalidTag:
            raise StreamDamagedError from None

    def _nonce(self, number: int, is_last: bool) -> bytes:  # noqa: FBT001 - private
        return self._prefix + number.to_bytes(4, "big") + bytes([is_last])


def encrypted(key: bytes, associated: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The stream of `chunks`, piece by piece; at most two segments are in memory.

    Args:
        key: 32 secret bytes; any number of streams may use it.
        associated: what the stream is bound to.
        chunks: the bytes, in pieces of any size.
    """
    header = bytes([HEADER_BYTES]) + os.urandom(HEADER_BYTES - 1)
    segments = _Segments(key, associated, header)
    yield header
    held = bytearray()
    number, room = 0, _PLAIN_BYTES - HEADER_BYTES
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            if len(held) == room:  # more follows, so this is not the last
                yield segments.encrypt(number, held, is_last=False)
                held.clear()
                number, room = number + 1, _PLAIN_BYTES
            part = view[: room - len(held)]
            held += part
            view = view[len(part) :]
    yield segments.encrypt(number, held, is_last=True)


class EncryptedStream:
    """A stream to be read from anywhere.

    Args:
        key: the key that it was written under.
        associated: what it was bound to.
        read_at: reads the encrypted bytes.
        encrypted_bytes: how many there are.

    Raises:
        StreamDamagedError: no stream is that long, or it has no header.
    """

    def __init__(
        self, key: bytes, associated: bytes, read_at: ReadAt, encrypted_bytes: int
    ) -> None:
        size = plain_size(encrypted_bytes)
        if size is None:
            raise StreamDamagedError
        self.size_bytes = size
        self._read_at = read_at
        self._encrypted_bytes = encrypted_bytes
        self._segments = _Segments(key, associated, read_at(0, HEADER_BYTES))
        self._last = (encrypted_bytes - 1) // SEGMENT_BYTES

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes `start`..`end`, each segment verified before any byte of it is given.

        Raises:
            StreamDamagedError: a segment is not what was written.
        """
        while start < end or start == end == self.size_bytes == 0:
            number, base = _place_of(start)
            plaintext = self._segment(number)
            part = memoryview(plaintext)[start - base : end - base]
            yield bytes(part)
            start += len(part)
            if not part:
                return

    def _segment(self, number: int) -> bytes:
        offset = number * SEGMENT_BYTES + (HEADER_BYTES if number == 0 else 0)
        end = min((number + 1) * SEGMENT_BYTES, self._encrypted_bytes)
        segment = self._read_at(offset, end - offset)
        return self._segments.decrypt(number, segment, is_last=number == self._last)


def _place_of(offset: int) -> tuple[int, int]:
    """The segment that holds a byte, and where that segment begins in the plain bytes."""
    number = (offset + HEADER_BYTES) // _PLAIN_BYTES
    return number, max(0, number * _PLAIN_BYTES - HEADER_BYTES)
