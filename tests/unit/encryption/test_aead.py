from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelry.services.encryption.aead import OVERHEAD_BYTES, LongNonceAead

NONCE = b"ABCDEFGHIJKLMNOPQRSTUVWX"


@pytest.mark.parametrize(
    ("key", "associated", "expected"),
    [
        (b"\1" * 32, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (
            b"\3" * 32,
            b"c2sp.org/XAES-256-GCM",
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        ),
    ],
)
def test_the_vectors_of_the_specification(key, associated, expected):
    found = LongNonceAead(key).encrypt_with(NONCE, b"XAES-256-GCM", associated)
    assert found.hex() == expected


@settings(deadline=None)
@given(st.binary(max_size=100), st.binary(max_size=20), st.data())
def test_any_change_is_seen(plaintext, associated, data):
    aead = LongNonceAead(b"k" * 32)
    message = aead.encrypt(plaintext, associated)
    assert len(message) == len(plaintext) + OVERHEAD_BYTES
    assert aead.decrypt(message, associated) == plaintext
    assert aead.decrypt(message, associated + b"x") is None
    bit = data.draw(st.integers(0, len(message) * 8 - 1))
    changed = bytearray(message)
    changed[bit // 8] ^= 1 << bit % 8
    assert aead.decrypt(bytes(changed), associated) is None
    cut = data.draw(st.integers(0, len(message) - 1))
    assert aead.decrypt(message[:cut], associated) is None
    assert LongNonceAead(b"j" * 32).decrypt(message, associated) is None


def test_a_short_key_is_a_defect():
    with pytest.raises(ValueError, match="expected 32"):
        LongNonceAead(b"short")
