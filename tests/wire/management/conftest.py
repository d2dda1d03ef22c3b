from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from tests.support.management import Installation, installation, make_database, starter


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("template"))


@pytest.fixture
async def server(tmp_path: Path, template: Path) -> AsyncIterator[Installation]:
    async with installation(tmp_path, template, starter()) as running:
        yield running


@pytest.fixture
async def owner(server: Installation) -> AsyncIterator[httpx2.AsyncClient]:
    async with server.client() as client:
        yield client
