"""Wrapping under keys that this process holds itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from modelry.domain.errors import KeyUnavailable
from modelry.services.encryption.aead import LongNonceAead
from modelry.services.encryption.ports import KeyContext, WrappedKey


def kek_id_of(kind: str, key: bytes) -> str:
    """A name for a key-encryption key that tells it apart and reveals nothing of it."""
    return f"{kind}:{hashlib.sha256(b'modelry/kek/1' + key).hexdigest()[:16]}"


def wrap_under(key: bytes, kek_id: str, data_key: bytes, context: KeyContext) -> WrappedKey:
    """`data_key` under the key-encryption key `key`."""
    return WrappedKey(kek_id, LongNonceAead(key).encrypt(data_key, _bound(context)))


def unwrap_under(
    keys: Mapping[str, bytes], wrapped: WrappedKey, context: KeyContext, restore: str
) -> bytes:
    """The data key, by whichever of `keys` it was wrapped under.

    Args:
        keys: key-encryption keys by their ids.
        wrapped: what `wrap_under` gave.
        context: what it was bound to.
        restore: what to tell the operator to restore, as a sentence.

    Raises:
        KeyUnavailable: the key is not among them, or is another one.
    """
    key = keys.get(wrapped.kek_id)
    if key is None:
        have = ", ".join(sorted(keys)) or "none"
        raise KeyUnavailable(
            f"The data keys of this installation are encrypted under the key '{wrapped.kek_id}', "
            f"which is not there (there is: {have}). {restore}"
        )
    opened = LongNonceAead(key).decrypt(wrapped.wrapped, _bound(context))
    if opened is None:
        raise KeyUnavailable(
            f"A data key that is encrypted under the key '{wrapped.kek_id}' is damaged: the "
            "database was changed outside of Modelry. Restore the database from a backup."
        )
    return opened


def _bound(context: KeyContext) -> bytes:
    return f"modelry/data-key/1\0{context.tenant_id}\0{context.key_id}".encode()
