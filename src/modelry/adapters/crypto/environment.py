"""The key-encryption key from a variable of the environment, such as a mounted secret gives."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Sequence

from modelry.adapters.crypto.local import kek_id_of, unwrap_under, wrap_under
from modelry.domain.errors import InvalidInput
from modelry.services.encryption.aead import KEY_BYTES
from modelry.services.encryption.ports import KeyContext, WrappedKey


class EnvironmentKeys:
    """Implements `KeyProvider`.

    Rotation: put a new key in the place of the current one, add that to the older ones, restart,
    rotate; then the older one can go.

    Args:
        current: base64 of 32 random bytes; data keys are wrapped under it.
        older: others under which data keys may still be wrapped.

    Raises:
        InvalidInput: not base64 of 32 bytes.
    """

    kind = "environment"

    def __init__(self, current: str, older: Sequence[str] = ()) -> None:
        key = _decoded(current, "MODELRY_ENCRYPTION_KEY")
        self._current = kek_id_of(self.kind, key)
        self._keys = {self._current: key}
        for text in older:
            old = _decoded(text, "MODELRY_ENCRYPTION_OLD_KEYS")
            self._keys[kek_id_of(self.kind, old)] = old

    def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        """See `KeyProvider.wrap`."""
        return wrap_under(self._keys[self._current], self._current, key, context)

    def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """See `KeyProvider.unwrap`."""
        return unwrap_under(
            self._keys,
            wrapped,
            context,
            "Start the server with it in MODELRY_ENCRYPTION_KEY, or among "
            "MODELRY_ENCRYPTION_OLD_KEYS; or, if it is not such a key, with the "
            "MODELRY_ENCRYPTION_PROVIDER that has it (as MODELRY_ENCRYPTION_OLD_PROVIDER, to move "
            "away from it).",
        )

    def renew(self) -> None:
        """Nothing: the new key comes with the environment."""

    def retire(self, kept: Collection[str]) -> None:
        """Nothing: who set the older keys takes them away."""


def _decoded(text: str, variable: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise InvalidInput(
            f"{variable} holds no key: expected base64 of {KEY_BYTES} bytes, as "
            f"`openssl rand -base64 {KEY_BYTES}` makes them.",
            param="encryption_key",
        )
    return key
