from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.support.usage import note

from modelry.services.inference.metering import Meter, Taken
from modelry.testing.memory_database import MemoryDatabase
from modelry.testing.samples import add_tenants


@pytest.fixture
def database() -> MemoryDatabase:
    database = MemoryDatabase()
    add_tenants(database)
    return database


@pytest.fixture
def taken() -> Callable[..., Taken]:
    """Notes of one request each, as given."""

    def make(*requests: dict[str, Any]) -> Taken:
        meter = Meter()
        for one in requests or ({},):
            note(meter, **one)
        return meter.take()

    return make
