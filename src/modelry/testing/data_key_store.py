# ruff: noqa: D102 - the names of the tests say what they check
"""What every `DataKeyStore` must do, a fake in memory, and encryption over it.

Subclass the suite and give the fixture `data_keys`: an empty store of a database with the default
and the other tenant of `testing.samples`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from modelry.domain.access import DEFAULT_TENANT_ID as TENANT
from modelry.domain.errors import Conflict
from modelry.services.encryption.ports import DataKeyRecord, DataKeyStore
from modelry.testing.samples import NOW, OTHER_TENANT_ID

KEY = DataKeyRecord(TENANT, "1" * 32, "f" * 16, "test:1", b"wrapped once", NOW, NOW)


class MemoryDataKeyStore:
    """A `DataKeyStore`.

    Args:
        tenants: who exists.
    """

    def __init__(self, tenants: Sequence[str] = (TENANT, OTHER_TENANT_ID)) -> None:
        self._tenants = tenants
        self._keys: dict[tuple[str, str], DataKeyRecord] = {}
        self._lock = threading.Lock()

    def keys(self, tenant_id: str) -> list[DataKeyRecord]:
        """See `DataKeyStore.keys`."""
        return [one for one in self.all_keys() if one.tenant_id == tenant_id]

    def all_keys(self) -> list[DataKeyRecord]:
        """See `DataKeyStore.all_keys`."""
        return sorted(self._keys.values(), key=lambda one: (one.created_at, one.key_id))

    def add_first(self, record: DataKeyRecord) -> DataKeyRecord:
        """See `DataKeyStore.add_first`."""
        if record.tenant_id not in self._tenants:
            raise Conflict(f"Tenant {record.tenant_id} does not exist.")
        with self._lock:
            known = self.keys(record.tenant_id)
            if known:
                return known[-1]
            self._keys[record.tenant_id, record.key_id] = record
            return record

    def rewrap(self, record: DataKeyRecord, before: bytes) -> bool:
        """See `DataKeyStore.rewrap`."""
        with self._lock:
            known = self._keys.get((record.tenant_id, record.key_id))
            if known is None or known.wrapped != before:
                return False
            self._keys[record.tenant_id, record.key_id] = record
            return True

    def destroy(self, tenant_id: str, at: datetime) -> list[DataKeyRecord]:
        """See `DataKeyStore.destroy`."""
        with self._lock:
            destroyed = [
                replace(one, wrapped=None, destroyed_at=at)
                for one in self.keys(tenant_id)
                if one.wrapped is not None
            ]
            self._keys |= {(tenant_id, one.key_id): one for one in destroyed}
            return destroyed


class DataKeyStoreContract:
    """The suite."""

    def test_the_first_key_counts(self, data_keys: DataKeyStore) -> None:
        assert data_keys.keys(TENANT) == []
        assert data_keys.add_first(KEY) == KEY
        assert data_keys.add_first(replace(KEY, key_id="2" * 32)) == KEY
        assert data_keys.keys(TENANT) == [KEY]

    def test_tenants_do_not_share(self, data_keys: DataKeyStore) -> None:
        other = replace(KEY, tenant_id=OTHER_TENANT_ID)
        data_keys.add_first(KEY)
        data_keys.add_first(other)
        assert data_keys.keys(OTHER_TENANT_ID) == [other]
        assert sorted(one.tenant_id for one in data_keys.all_keys()) == [TENANT, OTHER_TENANT_ID]
        data_keys.destroy(TENANT, NOW)
        assert data_keys.keys(OTHER_TENANT_ID) == [other]

    def test_nobody_has_no_key(self, data_keys: DataKeyStore) -> None:
        with pytest.raises(Conflict):
            data_keys.add_first(replace(KEY, tenant_id="nobody"))

    def test_only_what_was_read_is_wrapped_anew(self, data_keys: DataKeyStore) -> None:
        data_keys.add_first(KEY)
        later = NOW + timedelta(days=1)
        new = replace(KEY, kek_id="test:2", wrapped=b"wrapped twice", wrapped_at=later)
        assert data_keys.rewrap(new, b"wrapped once")
        assert not data_keys.rewrap(replace(new, wrapped=b"late"), b"wrapped once")
        assert data_keys.keys(TENANT) == [new]

    def test_destroyed_is_gone_for_good(self, data_keys: DataKeyStore) -> None:
        data_keys.add_first(KEY)
        (gone,) = data_keys.destroy(TENANT, NOW)
        assert gone == replace(KEY, wrapped=None, destroyed_at=NOW)
        assert data_keys.destroy(TENANT, NOW + timedelta(days=1)) == []
        assert not data_keys.rewrap(replace(KEY, wrapped=b"x"), b"wrapped once")
        assert data_keys.add_first(replace(KEY, key_id="2" * 32)) == gone
        assert data_keys.keys(TENANT) == [gone]
