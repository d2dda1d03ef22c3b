"""The suite of data key stores, on SQL and on the fake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import databases

from modelry.adapters.sql.database import open_database
from modelry.services.encryption.ports import DataKeyStore
from modelry.testing.data_key_store import DataKeyStoreContract, MemoryDataKeyStore


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def data_keys(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DataKeyStore]:
    if request.param == "memory":
        yield MemoryDataKeyStore()
        return
    if request.param == "postgresql":
        database = open_database(request.getfixturevalue("postgres_url"))
    else:
        database = databases.with_tenants(tmp_path)
    yield database.data_keys
    database.close()


class TestDataKeyStore(DataKeyStoreContract):
    pass
