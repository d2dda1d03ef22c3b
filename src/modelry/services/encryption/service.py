"""Data keys and what is sealed under them."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from modelry.domain.errors import Conflict, DataDamaged, KeyUnavailable
from modelry.services.encryption import aead
from modelry.services.encryption.keyring import Keyring, SealingKey, fingerprint
from modelry.services.encryption.ports import (
    DataKeyRecord,
    DataKeyStore,
    KeyContext,
    KeyProvider,
    WrappedKey,
)

log = logging.getLogger(__name__)

SEAL_OVERHEAD_BYTES = 1 + 16 + aead.OVERHEAD_BYTES
"""How much longer a sealed value is: the format's number, the key's id, nonce and tag."""

_FORMAT = b"\x01"
_HEAD_BYTES = 17


@dataclass(frozen=True, slots=True)
class DestroyedKey:
    """A data key that is gone for good."""

    key_id: str
    fingerprint: str
    kek_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Destruction:
    """What was destroyed: the certificate that a deleted tenant's audit entry carries."""

    tenant_id: str
    destroyed_at: datetime
    keys: tuple[DestroyedKey, ...]


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did: how many data keys are now wrapped under `kek_id`."""

    kek_id: str | None
    rewrapped: int
    destroyed_meanwhile: int


@dataclass(frozen=True, slots=True)
class KekUse:
    """How many data keys one key-encryption key wraps."""

    kek_id: str
    data_keys: int


@dataclass(frozen=True, slots=True)
class EncryptionStatus:
    """How an installation is encrypted; `oldest_wrap` tells when it was last rotated, at least."""

    provider: str
    data_keys: int
    destroyed_keys: int
    key_encryption_keys: tuple[KekUse, ...]
    oldest_wrap: datetime | None


class EncryptionService:
    """Implements `ports.Sealer`; may be used from any thread, and blocks.

    Args:
        store: keeps wrapped data keys.
        provider: wraps them.
        clock: gives the time.
    """

    def __init__(
        self,
        store: DataKeyStore,
        provider: KeyProvider,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._provider = provider
        self._clock = clock
        self._keyring = Keyring(store.keys, provider)
        self._rotating = threading.Lock()

    def check(self) -> None:
        """See that the data keys can be unwrapped: one of each key-encryption key.

        Raises:
            KeyUnavailable: they cannot; says what to restore.
        """
        seen: set[str] = set()
        for record in self._store.all_keys():
            if record.wrapped is not None and record.kek_id not in seen:
                seen.add(record.kek_id)
                self._keyring.forget(record.tenant_id)
                self._keyring.newest(record.tenant_id)

    def seal(self, tenant_id: str, purpose: str, plaintext: bytes) -> bytes:
        """See `Sealer.seal`."""
        key = self._keyring.newest(tenant_id) or self._first_key(tenant_id)
        head = _FORMAT + uuid.UUID(hex=key.key_id).bytes
        return head + key.aead.encrypt(plaintext, _bound(head, tenant_id, purpose))

    def unseal(self, tenant_id: str, purpose: str, sealed: bytes) -> bytes:
        """See `Sealer.unseal`."""
        head = sealed[:_HEAD_BYTES]
        if len(sealed) < SEAL_OVERHEAD_BYTES or not head.startswith(_FORMAT):
            raise _damaged()
        key = self._keyring.find(tenant_id, head[1:].hex())
        if key is None:
            raise _damaged()
        bound = _bound(head, tenant_id, purpose)
        opened = key.aead.decrypt(memoryview(sealed)[_HEAD_BYTES:], bound)
        if opened is None:
            raise _damaged()
        return opened

    def rotate(self) -> Rotation:
        """Wrap every data key anew under a new key-encryption key; contents stay as they are.

        May be interrupted at any point and run again: old keys are forgotten last.

        Raises:
            KeyUnavailable: the provider has no new key, or an old one is lost; nothing is lost
                by that.
            Conflict: another rotation is under way.
        """
        if not self._rotating.acquire(blocking=False):
            raise Conflict("The keys are being rotated just now; wait until that is done.")
        try:
            self._provider.renew()
            return self._rewrap_all()
        finally:
            self._rotating.release()

    def _rewrap_all(self) -> Rotation:
        rewrapped = gone = 0
        kek_id: str | None = None
        for record in self._store.all_keys():
            if record.wrapped is None:
                continue
            wrapped = self._wrapped_anew(record, record.wrapped)
            kek_id = wrapped.kek_id
            new = replace(record, kek_id=kek_id, wrapped=wrapped.wrapped, wrapped_at=self._clock())
            if self._store.rewrap(new, record.wrapped):
                rewrapped += 1
            else:
                gone += 1
        self._provider.retire(
            {one.kek_id for one in self._store.all_keys() if one.wrapped is not None}
        )
        log.info("rotated: %d data keys were wrapped anew under %s", rewrapped, kek_id)
        return Rotation(kek_id, rewrapped, gone)

    def _wrapped_anew(self, record: DataKeyRecord, wrapped: bytes) -> WrappedKey:
        context = KeyContext(record.tenant_id, record.key_id)
        key = self._provider.unwrap(WrappedKey(record.kek_id, wrapped), context)
        return self._provider.wrap(key, context)

    def destroy(self, tenant_id: str) -> Destruction:
        """Destroy a tenant's data keys: nothing that was encrypted for it can be read any more.

        Done again it destroys nothing more, and says so by naming no keys.
        """
        now = self._clock()
        records = self._store.destroy(tenant_id, now)
        self._keyring.forget(tenant_id)
        log.info("destroyed %d data keys of tenant %s", len(records), tenant_id)
        keys = (
            DestroyedKey(one.key_id, one.fingerprint, one.kek_id, one.created_at) for one in records
        )
        return Destruction(tenant_id, now, tuple(keys))

    def status(self) -> EncryptionStatus:
        """How the data keys are wrapped."""
        records: Sequence[DataKeyRecord] = self._store.all_keys()
        alive = [one for one in records if one.wrapped is not None]
        uses = Counter(one.kek_id for one in alive)
        return EncryptionStatus(
            provider=self._provider.kind,
            data_keys=len(alive),
            destroyed_keys=len(records) - len(alive),
            key_encryption_keys=tuple(KekUse(kek_id, uses[kek_id]) for kek_id in sorted(uses)),
            oldest_wrap=min((one.wrapped_at for one in alive), default=None),
        )

    def _first_key(self, tenant_id: str) -> SealingKey:
        self._store.add_first(self._made(tenant_id))  # the first that is kept counts
        self._keyring.forget(tenant_id)
        found = self._keyring.newest(tenant_id)
        if found is None:
            raise KeyUnavailable("No data key could be made for this tenant; try again.")
        return found

    def _made(self, tenant_id: str) -> DataKeyRecord:
        key, key_id, now = os.urandom(aead.KEY_BYTES), uuid.uuid4().hex, self._clock()
        wrapped = self._provider.wrap(key, KeyContext(tenant_id, key_id))
        return DataKeyRecord(
            tenant_id=tenant_id,
            key_id=key_id,
            fingerprint=fingerprint(key),
            kek_id=wrapped.kek_id,
            wrapped=wrapped.wrapped,
            created_at=now,
            wrapped_at=now,
        )


def _bound(head: bytes, tenant_id: str, purpose: str) -> bytes:
    """What a sealed value is bound to; lengths keep the parts apart."""
    tenant = tenant_id.encode()
    return head + len(tenant).to_bytes(4, "big") + tenant + purpose.encode()


def _damaged() -> DataDamaged:
    return DataDamaged(
        "A sealed value is damaged, or was sealed for something else: it was changed outside of "
        "Modelry. Restore it from a backup, or make it anew."
    )
