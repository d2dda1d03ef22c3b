"""What only PostgreSQL does: several servers at once, stricter types, and how it is refused."""

from __future__ import annotations

import builtins
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from tests.support.postgres import APP, PostgresDatabases, Urls

from modelry.adapters.sql import row_security
from modelry.adapters.sql.database import Database, open_database
from modelry.adapters.sql.engine import open_engine
from modelry.adapters.sql.tables import Base
from modelry.domain.access import DEFAULT_TENANT_ID
from modelry.domain.errors import Conflict, InvalidInput, Overloaded
from modelry.testing import samples


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    database = open_database(postgres_url)
    yield database
    database.close()


def test_migrations_give_the_tables_of_the_program(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()
    assert differences == []


def test_servers_that_migrate_at_once_agree(postgres: PostgresDatabases) -> None:
    failures: list[BaseException] = []

    def open_and_close(urls: Urls) -> None:
        try:
            open_database(urls.app, urls.owner).close()
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            failures.append(error)

    with postgres.empty() as urls:
        threads = [threading.Thread(target=open_and_close, args=(urls,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


@pytest.mark.parametrize("name", ["with\0NUL", "long" * 100], ids=["nul", "too-long"])
def test_a_text_that_it_cannot_keep_is_refused(database: Database, name: str) -> None:
    key = replace(samples.api_key(), name=name)
    with pytest.raises(InvalidInput) as told:
        database.keys.write(DEFAULT_TENANT_ID, lambda records: records.put(key))
    assert name not in str(told.value)
    assert database.keys.all_keys() == []


def test_a_suspended_transaction_does_not_hold_its_locks_for_ever(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_security, "_IDLE_MS", "100")

    def suspended(records: Any) -> None:
        records.put(samples.api_key())
        time.sleep(0.5)

    with pytest.raises(Overloaded, match="cannot be reached"):
        database.keys.write(DEFAULT_TENANT_ID, suspended)
    assert database.keys.all_keys() == []


def test_a_database_that_cannot_be_reached_is_told_without_the_password() -> None:
    with pytest.raises(Conflict, match="refused") as told:
        open_database("postgresql+psycopg://somebody:s3cret@127.0.0.1:1/modelry")
    assert told.value.param == "database_url"
    assert "s3cret" not in told.value.message


def test_a_database_that_is_not_there_is_told(postgres: PostgresDatabases) -> None:
    with pytest.raises(Conflict, match='database "nowhere" does not exist'):
        open_database(postgres.server.url("nowhere", APP))


def test_only_one_driver_is_taken() -> None:
    with pytest.raises(InvalidInput, match="asyncpg"):
        open_engine("postgresql+asyncpg://host/modelry")


def test_a_missing_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without_psycopg(name: str, *more: Any) -> Any:
        if name == "psycopg":
            raise ModuleNotFoundError(name)
        return found(name, *more)

    monkeypatch.setattr(builtins, "__import__", without_psycopg)
    with pytest.raises(InvalidInput, match=r"modelry\[postgres\]"):
        open_engine("postgresql://host/modelry")
