from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from modelry.adapters.crypto.environment import EnvironmentKeys
from modelry.adapters.crypto.key_file import KeyFile
from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.errors import Conflict, DataDamaged, KeyUnavailable
from modelry.services.encryption.keyring import FRESH_S, Keyring
from modelry.services.encryption.service import SEAL_OVERHEAD_BYTES, EncryptionService
from modelry.testing.data_key_store import MemoryDataKeyStore
from modelry.testing.encryption import encoded_key, memory_encryption
from modelry.testing.samples import NOW, OTHER_TENANT_ID


def test_what_was_sealed_is_unsealed_for_the_same_tenant_and_purpose_only():
    encryption = memory_encryption()
    sealed = encryption.seal(TENANT, "row/1", b"secret")
    assert b"secret" not in sealed
    assert len(sealed) == 6 + SEAL_OVERHEAD_BYTES
    assert encryption.unseal(TENANT, "row/1", sealed) == b"secret"
    assert encryption.seal(TENANT, "row/1", b"secret") != sealed
    for tenant_id, purpose in ((TENANT, "row/2"), (OTHER_TENANT_ID, "row/1")):
        encryption.seal(tenant_id, "any", b"")
        with pytest.raises(DataDamaged):
            encryption.unseal(tenant_id, purpose, sealed)


def test_every_bit_counts():
    encryption = memory_encryption()
    sealed = encryption.seal(TENANT, "row/1", b"secret")
    for bit in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DataDamaged):
            encryption.unseal(TENANT, "row/1", bytes(changed))
    for cut in range(len(sealed)):
        with pytest.raises(DataDamaged):
            encryption.unseal(TENANT, "row/1", sealed[:cut])
    with pytest.raises(DataDamaged):
        encryption.unseal(TENANT, "row/1", sealed + b"x")


def test_one_key_is_made_however_many_ask_at_once():
    store = MemoryDataKeyStore()
    services = [EncryptionService(store, EnvironmentKeys(encoded_key())) for _ in range(4)]
    sealed: list[bytes] = []
    start = threading.Barrier(8)

    def work(service: EncryptionService) -> None:
        start.wait()
        sealed.append(service.seal(TENANT, "x", b"y"))

    threads = [threading.Thread(target=work, args=(one,)) for one in services * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.keys(TENANT)) == 1
    assert all(services[0].unseal(TENANT, "x", one) == b"y" for one in sealed)
    assert len(sealed) == 8


def test_destroyed_keys_are_gone_for_everybody():
    store = MemoryDataKeyStore()
    encryption = EncryptionService(store, EnvironmentKeys(encoded_key()), lambda: NOW)
    sealed = encryption.seal(TENANT, "x", b"y")
    other = encryption.seal(OTHER_TENANT_ID, "x", b"z")
    certificate = encryption.destroy(TENANT)
    (gone,) = certificate.keys
    assert (certificate.tenant_id, certificate.destroyed_at) == (TENANT, NOW)
    assert (gone.fingerprint, len(gone.fingerprint)) == (store.keys(TENANT)[0].fingerprint, 16)
    for again in (encryption, EncryptionService(store, EnvironmentKeys(encoded_key()))):
        with pytest.raises(KeyUnavailable, match="destroyed"):
            again.unseal(TENANT, "x", sealed)
        with pytest.raises(KeyUnavailable, match="destroyed"):
            again.seal(TENANT, "x", b"new")
        assert again.unseal(OTHER_TENANT_ID, "x", other) == b"z"
    assert encryption.destroy(TENANT).keys == ()
    encryption.check()
    assert encryption.status().destroyed_keys == 1


def test_another_server_forgets_destroyed_keys_in_time():
    store = MemoryDataKeyStore()
    provider = EnvironmentKeys(encoded_key())
    EncryptionService(store, provider).seal(TENANT, "x", b"y")
    now = [0.0]
    keyring = Keyring(store.keys, provider, lambda: now[0])
    assert keyring.newest(TENANT) is not None
    store.destroy(TENANT, NOW)
    now[0] = FRESH_S - 1
    assert keyring.newest(TENANT) is not None
    now[0] = FRESH_S
    with pytest.raises(KeyUnavailable):
        keyring.newest(TENANT)


def test_rotation_wraps_anew_and_forgets_the_old_key(tmp_path):
    store = MemoryDataKeyStore()
    path = tmp_path / "secrets" / "keys"
    encryption = EncryptionService(store, KeyFile(path))
    sealed = {one: encryption.seal(one, "x", b"y") for one in (TENANT, OTHER_TENANT_ID)}
    before = {one.tenant_id: one for one in store.all_keys()}
    old_file = path.read_bytes()
    rotation = encryption.rotate()
    assert (rotation.rewrapped, rotation.destroyed_meanwhile) == (2, 0)
    after = {one.tenant_id: one for one in store.all_keys()}
    for tenant_id, one in after.items():
        assert one.key_id == before[tenant_id].key_id
        assert one.kek_id != before[tenant_id].kek_id
        assert encryption.unseal(tenant_id, "x", sealed[tenant_id]) == b"y"
    restarted = EncryptionService(store, KeyFile(path))
    restarted.check()
    assert restarted.unseal(TENANT, "x", sealed[TENANT]) == b"y"
    assert [one.kek_id for one in restarted.status().key_encryption_keys] == [rotation.kek_id]
    path.write_bytes(old_file)  # the thief of the old file has nothing
    with pytest.raises(KeyUnavailable, match="not there"):
        EncryptionService(store, KeyFile(path)).check()


def test_a_rotation_that_was_cut_off_goes_on(tmp_path):
    class Dying(MemoryDataKeyStore):
        lives = 1

        def rewrap(self, record, before):
            if self.lives == 0:
                raise KeyboardInterrupt
            self.lives -= 1
            return super().rewrap(record, before)

    store = Dying()
    path = tmp_path / "keys"
    encryption = EncryptionService(store, KeyFile(path))
    sealed = {one: encryption.seal(one, "x", b"y") for one in (TENANT, OTHER_TENANT_ID)}
    with pytest.raises(KeyboardInterrupt):
        encryption.rotate()
    restarted = EncryptionService(store, KeyFile(path))
    restarted.check()
    assert len(restarted.status().key_encryption_keys) == 2
    assert {one: restarted.unseal(one, "x", sealed[one]) for one in sealed} == {
        TENANT: b"y", OTHER_TENANT_ID: b"y"
    }  # fmt: skip
    store.lives = 9
    assert restarted.rotate().rewrapped == 2
    assert len(restarted.status().key_encryption_keys) == 1


def test_one_rotation_at_a_time(tmp_path):
    class Slow(KeyFile):
        def renew(self):
            with pytest.raises(Conflict):
                encryption.rotate()
            super().renew()

    encryption = EncryptionService(MemoryDataKeyStore(), Slow(tmp_path / "keys"))
    encryption.seal(TENANT, "x", b"y")
    assert encryption.rotate().rewrapped == 1


def test_the_status_tells_when_it_was_rotated_last(tmp_path):
    now = [NOW]
    encryption = EncryptionService(MemoryDataKeyStore(), KeyFile(tmp_path / "keys"), lambda: now[0])
    assert encryption.status().oldest_wrap is None
    encryption.seal(TENANT, "x", b"y")
    assert encryption.status().oldest_wrap == NOW
    now[0] += timedelta(days=3)
    encryption.rotate()
    assert encryption.status().oldest_wrap == now[0]


def test_a_key_that_another_server_made_just_now_is_found():
    store = MemoryDataKeyStore()
    here, there = (EncryptionService(store, EnvironmentKeys(encoded_key())) for _ in "ab")
    with pytest.raises(DataDamaged):  # it has looked, and found no key
        here.unseal(TENANT, "x", b"\1" + bytes(SEAL_OVERHEAD_BYTES))
    sealed = there.seal(TENANT, "x", b"y")
    assert here.unseal(TENANT, "x", sealed) == b"y"


def test_one_tenants_slow_provider_holds_up_no_other():
    class Slow(EnvironmentKeys):
        def unwrap(self, wrapped, context):
            if context.tenant_id == TENANT:
                waiting.set()
                assert may_go.wait(10)
            return super().unwrap(wrapped, context)

    waiting, may_go = threading.Event(), threading.Event()
    encryption = EncryptionService(MemoryDataKeyStore(), Slow(encoded_key()))
    slow = threading.Thread(target=encryption.seal, args=(TENANT, "x", b"y"))
    slow.start()
    assert waiting.wait(10)
    assert encryption.seal(OTHER_TENANT_ID, "x", b"y")
    may_go.set()
    slow.join()
