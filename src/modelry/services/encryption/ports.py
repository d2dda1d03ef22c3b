"""What encryption offers to other services, and what it needs from outside."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class Sealer(Protocol):
    """Seals small values of a tenant (at most a few MiB), such as rows and keys of files."""

    def seal(self, tenant_id: str, purpose: str, plaintext: bytes) -> bytes:
        """`plaintext` encrypted under the tenant's key; `SEAL_OVERHEAD_BYTES` longer.

        Args:
            tenant_id: whose value it is.
            purpose: what it is and which one, as in `request_log/<request id>`; bound to it.
            plaintext: the value.

        Raises:
            KeyUnavailable: the tenant's keys were destroyed, or cannot be had.
        """
        ...

    def unseal(self, tenant_id: str, purpose: str, sealed: bytes) -> bytes:
        """The value that was sealed for this tenant and purpose.

        Raises:
            DataDamaged: it was changed, or sealed for another tenant or purpose.
            KeyUnavailable: the tenant's keys were destroyed, or cannot be had.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeyContext:
    """What a wrapped data key is bound to."""

    tenant_id: str
    key_id: str


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key encrypted under the key-encryption key called `kek_id`."""

    kek_id: str
    wrapped: bytes


class KeyProvider(Protocol):
    """Wraps data keys under key-encryption keys, which it never gives away.

    It can unwrap under any key that it still has, and wraps under the newest.
    """

    @property
    def kind(self) -> str:
        """What it is, in a word, such as `file` or `aws-kms`."""
        ...

    def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        """`key` under the newest key-encryption key, bound to `context`.

        Raises:
            KeyUnavailable: the provider cannot be reached, or refuses.
        """
        ...

    def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """The data key.

        Raises:
            KeyUnavailable: the key-encryption key is not there, is another one, or the provider
                cannot be reached; says what to restore.
        """
        ...

    def renew(self) -> None:
        """Make a new newest key, if this provider makes its own; else nothing.

        Raises:
            KeyUnavailable: it cannot be kept.
        """
        ...

    def retire(self, kept: Collection[str]) -> None:
        """Forget the older keys whose ids are not among `kept`, if the provider keeps its own."""
        ...


@dataclass(frozen=True, slots=True)
class DataKeyRecord:
    """A tenant's data key as it is kept; `wrapped` is None once it was destroyed.

    `fingerprint` (16 hex digits) tells keys apart and reveals nothing of them.
    """

    tenant_id: str
    key_id: str
    fingerprint: str
    kek_id: str
    wrapped: bytes | None
    created_at: datetime
    wrapped_at: datetime
    destroyed_at: datetime | None = None


class DataKeyStore(Protocol):
    """Keeps wrapped data keys; every method is one transaction."""

    def keys(self, tenant_id: str) -> Sequence[DataKeyRecord]:
        """A tenant's keys, oldest first, destroyed ones as well."""
        ...

    def all_keys(self) -> Sequence[DataKeyRecord]:
        """All keys of all tenants, for rotation and status."""
        ...

    def add_first(self, record: DataKeyRecord) -> DataKeyRecord:
        """Keep a tenant's first key; gives the one that counts if there are keys already.

        Raises:
            Conflict: there is no such tenant.
        """
        ...

    def rewrap(self, record: DataKeyRecord, before: bytes) -> bool:
        """Keep `record` in place of the one wrapped as `before`; False if that is gone."""
        ...

    def destroy(self, tenant_id: str, at: datetime) -> Sequence[DataKeyRecord]:
        """Overwrite all wrapped keys of a tenant; the keys that this call destroyed."""
        ...
