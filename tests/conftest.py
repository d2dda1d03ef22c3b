"""Fixtures and settings for all tests."""

from collections.abc import Iterator

import pytest
from hypothesis import settings
from tests.support.postgres import PostgresDatabases, postgres_server

# how long an example takes says more about what else runs on the machine than about the code
settings.register_profile("modelry", deadline=None)
settings.load_profile("modelry")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresDatabases]:
    """A running PostgreSQL that gives out databases."""
    with postgres_server() as server:
        yield PostgresDatabases(server)


@pytest.fixture
def postgres_url(postgres: PostgresDatabases) -> Iterator[str]:
    """The URL of a database for one test, with all tables and two tenants."""
    with postgres.prepared() as url:
        yield url
