"""Fixtures and settings for all tests."""

from collections.abc import Iterator

import pytest
from hypothesis import settings
from tests.support.postgres import PostgresDatabases, Urls, postgres_server

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
def postgres_urls(postgres: PostgresDatabases) -> Iterator[Urls]:
    """A database for one test, with all tables and two tenants."""
    with postgres.prepared() as urls:
        yield urls


@pytest.fixture
def postgres_url(postgres_urls: Urls) -> str:
    """Its URL for serving."""
    return postgres_urls.app
