"""XAES-256-GCM: AES-256-GCM whose nonces are so long that they may be random.

AES-GCM's own nonce of 96 bits is too short for that: two of 2^32 random ones are the same with a
chance that counts, and a nonce used twice gives the key away. Here a nonce of 192 bits chooses
both a key derived for this message and its nonce (C2SP's specification of the same name, 2023).
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 24
TAG_BYTES = 16
OVERHEAD_BYTES = NONCE_BYTES + TAG_BYTES
"""How much longer an encrypted message is."""

_FIELD_POLYNOMIAL = 0x87


class LongNonceAead:
    """Encrypts any number of messages under one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key of {len(key)} bytes; expected {KEY_BYTES}")
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 - the block cipher is what the derivation below is made of
        block = int.from_bytes(self._encrypt_blocks(bytes(16)), "big") << 1
        if block >> 128:
            block = (block & (2**128 - 1)) ^ _FIELD_POLYNOMIAL
        self._mask = block.to_bytes(16, "big")

    def encrypt(self, plaintext: bytes | memoryview, associated: bytes) -> bytes:
        """A random nonce, the ciphertext and its tag."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self.encrypt_with(nonce, plaintext, associated)

    def encrypt_with(self, nonce: bytes, plaintext: bytes | memoryview, associated: bytes) -> bytes:
        """Ciphertext and tag under a nonce that must never come twice."""
        return self._message_key(nonce).encrypt(nonce[12:], plaintext, associated)

    def decrypt(self, message: bytes | memoryview, associated: bytes) -> bytes | None:
        """What `encrypt` was given; None if `message` or `associated` is another one."""
        if len(message) < OVERHEAD_BYTES:
            return None
        nonce = bytes(message[:NONCE_BYTES])
        try:
            return self._message_key(nonce).decrypt(nonce[12:], message[NONCE_BYTES:], associated)
        except InvalidTag:
            return None

    def _message_key(self, nonce: bytes) -> AESGCM:
        halves = b"".join(
            _xor(b"\x00" + bytes([half]) + b"X\x00" + nonce[:12], self._mask) for half in (1, 2)
        )
        return AESGCM(self._encrypt_blocks(halves))

    def _encrypt_blocks(self, blocks: bytes) -> bytes:
        encryptor = self._cipher.encryptor()
        return encryptor.update(blocks) + encryptor.finalize()


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
