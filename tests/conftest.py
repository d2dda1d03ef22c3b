"""Fixtures and settings for all tests."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tests.support.postgres import PostgresDatabases, Urls, postgres_server

# how long an example takes says more about what else runs on the machine than about the code
settings.register_profile("modelry", deadline=None)
settings.load_profile("modelry")

# what is imported stays; looking for garbage in it takes a fourth of the time that collecting takes
gc.disable()

_LONGEST_FIRST = ("e2e", "integration", "wire", "contract", "unit", "architecture")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first where files are shared out: one left for the end would run alone."""
    if hasattr(config, "workerinput"):
        folder = len(Path(__file__).parent.parts)
        items.sort(key=lambda item: _LONGEST_FIRST.index(item.path.parts[folder]))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Tests run with the garbage collection that Python has."""
    gc.freeze()
    gc.enable()


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
