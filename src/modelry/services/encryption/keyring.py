"""The data keys that a process has in memory, as keys for sealing."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from modelry.domain.errors import KeyUnavailable
from modelry.services.encryption.aead import LongNonceAead
from modelry.services.encryption.ports import DataKeyRecord, KeyContext, KeyProvider, WrappedKey

FRESH_S = 30.0
"""How long another server on the same database may go on with keys that were destroyed."""

ReadKeys = Callable[[str], Sequence[DataKeyRecord]]


@dataclass(frozen=True, slots=True)
class SealingKey:
    """What values are sealed with: derived from the data key called `key_id`."""

    key_id: str
    aead: LongNonceAead


@dataclass(slots=True)
class _TenantKeys:
    by_id: dict[str, SealingKey]
    newest: SealingKey | None
    is_destroyed: bool
    read_at: float


class Keyring:
    """Unwraps data keys once and keeps them; may be used from any thread.

    Args:
        read_keys: gives a tenant's records, oldest first.
        provider: unwraps them.
        clock_s: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        read_keys: ReadKeys,
        provider: KeyProvider,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read_keys = read_keys
        self._provider = provider
        self._clock_s = clock_s
        self._tenants: dict[str, _TenantKeys] = {}
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def newest(self, tenant_id: str) -> SealingKey | None:
        """The key to seal with; None if the tenant has none yet.

        Raises:
            KeyUnavailable: its keys were destroyed, or cannot be unwrapped.
        """
        found = self._keys(tenant_id)
        if found.is_destroyed:
            raise _destroyed()
        return found.newest

    def find(self, tenant_id: str, key_id: str) -> SealingKey | None:
        """The key to unseal with; None if the tenant never had it.

        Raises:
            KeyUnavailable: its keys were destroyed, or cannot be unwrapped.
        """
        found = self._keys(tenant_id)
        if key_id not in found.by_id:  # another server may have made it just now
            self.forget(tenant_id)
            found = self._keys(tenant_id)
        if found.is_destroyed:
            raise _destroyed()
        return found.by_id.get(key_id)

    def forget(self, tenant_id: str) -> None:
        """Read the tenant's keys again before the next use."""
        with self._lock_of(tenant_id):
            self._tenants.pop(tenant_id, None)

    def _keys(self, tenant_id: str) -> _TenantKeys:
        known = self._tenants.get(tenant_id)
        if known is not None and self._clock_s() - known.read_at < FRESH_S:
            return known
        with self._lock_of(tenant_id):  # one tenant's slow key holds up no other
            known = self._tenants.get(tenant_id)
            if known is None or self._clock_s() - known.read_at >= FRESH_S:
                known = self._tenants[tenant_id] = self._read(tenant_id, known)
            return known

    def _lock_of(self, tenant_id: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(tenant_id, threading.Lock())

    def _read(self, tenant_id: str, before: _TenantKeys | None) -> _TenantKeys:
        records = self._read_keys(tenant_id)
        by_id: dict[str, SealingKey] = {}
        for record in records:
            if record.wrapped is None:
                continue
            known = None if before is None else before.by_id.get(record.key_id)
            by_id[record.key_id] = known or self._unwrapped(record, record.wrapped)
        newest = next(reversed(by_id.values()), None)
        return _TenantKeys(by_id, newest, bool(records) and not by_id, self._clock_s())

    def _unwrapped(self, record: DataKeyRecord, wrapped: bytes) -> SealingKey:
        context = KeyContext(record.tenant_id, record.key_id)
        key = self._provider.unwrap(WrappedKey(record.kek_id, wrapped), context)
        if fingerprint(key) != record.fingerprint:
            raise KeyUnavailable(
                "A data key is not the one that was kept under its name: the database was "
                "changed outside of Modelry. Restore the database from a backup."
            )
        return SealingKey(record.key_id, LongNonceAead(_derived(key, b"modelry/seal/1")))


def fingerprint(key: bytes) -> str:
    """16 hex digits that tell data keys apart."""
    return hashlib.sha256(_derived(key, b"modelry/fingerprint/1")).hexdigest()[:16]


def _derived(key: bytes, info: bytes) -> bytes:
    return HKDFExpand(SHA256(), 32, info).derive(key)


def _destroyed() -> KeyUnavailable:
    return KeyUnavailable(
        "The keys of this tenant were destroyed when it was deleted: what it kept can never be "
        "read again."
    )
