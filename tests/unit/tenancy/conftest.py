from __future__ import annotations

import pytest

from modelry.domain.access import Principal
from modelry.services.tenancy.service import TenancyService
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import NOW, add_tenants


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database() -> MemoryDatabase:
    database = MemoryDatabase()
    add_tenants(database)
    return database


@pytest.fixture
def tenancy(database: MemoryDatabase, clock: Clock) -> TenancyService:
    return TenancyService(database.keys, b"p" * 32, clock=clock)


@pytest.fixture
def owner(tenancy: TenancyService) -> Principal:
    minted = tenancy.ensure_owner_key()
    assert minted is not None
    return minted.key.principal()
