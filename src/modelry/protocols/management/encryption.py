"""`/encryption`: how what is kept is encrypted, and new keys for it."""

from __future__ import annotations

from datetime import datetime

from modelry.domain.access import Permission
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Encryption
from modelry.protocols.management.shapes import Answer

router = managed_router("encryption")


class KeyEncryptionKey(Answer):
    """A key-encryption key by its name, and how many data keys it encrypts."""

    kek_id: str
    data_keys: int


class EncryptionStatus(Answer):
    """How the data keys of all tenants are encrypted.

    `oldest_wrap` is when the data key was wrapped that was not wrapped anew for longest; null if
    there are no data keys yet. More than one key-encryption key means that a rotation has yet to
    be finished.
    """

    provider: str
    data_keys: int
    destroyed_keys: int
    key_encryption_keys: list[KeyEncryptionKey]
    oldest_wrap: datetime | None


class Rotation(Answer):
    """How many data keys were wrapped anew, under `kek_id`; null if there were none.

    `destroyed_meanwhile` of them went with their tenants while it ran.
    """

    kek_id: str | None
    rewrapped: int
    destroyed_meanwhile: int


@router.get(
    "/encryption", summary="Show the encryption", openapi_extra=needs(Permission.PLATFORM_READ)
)
def get_encryption(encryption: Encryption) -> EncryptionStatus:
    """Of the whole installation; keys themselves are never shown."""
    status = encryption.status()
    return EncryptionStatus(
        provider=status.provider,
        data_keys=status.data_keys,
        destroyed_keys=status.destroyed_keys,
        key_encryption_keys=[
            KeyEncryptionKey(kek_id=one.kek_id, data_keys=one.data_keys)
            for one in status.key_encryption_keys
        ],
        oldest_wrap=status.oldest_wrap,
    )


@router.post(
    "/encryption/rotate",
    summary="Wrap all data keys anew",
    openapi_extra=needs(Permission.PLATFORM_WRITE),
)
def rotate_encryption(encryption: Encryption) -> Rotation:
    """Under a new key-encryption key. Contents are not touched; cut off, it can be done again."""
    done = encryption.rotate()
    return Rotation(
        kek_id=done.kek_id,
        rewrapped=done.rewrapped,
        destroyed_meanwhile=done.destroyed_meanwhile,
    )
