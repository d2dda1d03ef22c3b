from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from tests.support.management import Installation, copied, installation, make_database, starter


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("template"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, template: Path) -> str:
    """The URL of a database with two tenants."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return copied(template, tmp_path)


@pytest.fixture
async def server(tmp_path: Path, database_url: str) -> AsyncIterator[Installation]:
    async with installation(tmp_path, database_url, starter()) as running:
        yield running


@pytest.fixture
async def owner(server: Installation) -> AsyncIterator[httpx2.AsyncClient]:
    async with server.client() as client:
        yield client
