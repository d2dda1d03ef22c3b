from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from tests.support.management import Installation, installation


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(tmp_path) as running:
        yield running


@pytest.fixture
async def owner(server: Installation) -> AsyncIterator[httpx2.AsyncClient]:
    async with server.client() as client:
        yield client
