"""How databases are opened, migrated, and what is told when they cannot."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from modelry.adapters.sql.columns import UtcDateTime
from modelry.adapters.sql.database import open_database
from modelry.adapters.sql.engine import is_wal_safe, open_engine
from modelry.adapters.sql.tables import Base
from modelry.domain.catalog import Model
from modelry.domain.errors import Conflict, InvalidInput, Overloaded
from modelry.testing import samples
from modelry.testing.samples import NOW


def pragma(engine: Engine, name: str) -> object:
    with engine.connect() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_wal_only_where_it_is_free_of_the_reset_bug(
    version: tuple[int, int, int], safe: bool
) -> None:
    assert is_wal_safe(version) is safe


def test_sqlite_is_opened_to_survive(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/sub/modelry.db")
    assert pragma(engine, "synchronous") == 2
    assert pragma(engine, "foreign_keys") == 1
    safe = is_wal_safe(sqlite3.sqlite_version_info)
    assert pragma(engine, "journal_mode") == ("wal" if safe else "delete")
    engine.dispose()
    assert stat.S_IMODE((tmp_path / "sub" / "modelry.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "sub").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "mysql://host/db", "oracle://x", "sqlite://", "sqlite:///:memory:"],
)
def test_an_unusable_url_is_told(url: str) -> None:
    with pytest.raises(InvalidInput) as told:
        open_engine(url)
    assert told.value.param == "database_url"
    assert "sqlite" in told.value.message


def test_migrations_give_the_tables_of_the_program(tmp_path: Path) -> None:
    open_database(f"sqlite:///{tmp_path}/modelry.db").close()
    engine = open_engine(f"sqlite:///{tmp_path}/modelry.db")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()
    assert differences == []


def test_tables_are_possible_on_postgresql() -> None:
    dialect = postgresql.dialect()
    for table in Base.metadata.sorted_tables:
        ddl = str(CreateTable(table).compile(dialect=dialect))
        assert "PRIMARY KEY" in ddl
        assert " JSON," not in ddl, f"{table.name}: JSON without JSONB"
        assert "TIMESTAMP WITHOUT TIME ZONE" not in ddl


def test_reopening_keeps_everything(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/modelry.db"
    database = open_database(url)
    samples.add_tenants(database)
    database.close()
    database = open_database(url)
    assert database.catalog.tenant_ids() == ["default", "other"]
    database.check()
    database.close()


def test_closing_waits_for_transactions_under_way(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/modelry.db")
    begun, may_end = threading.Event(), threading.Event()

    def work(records: object) -> None:
        begun.set()
        may_end.wait(10)

    writing = threading.Thread(target=lambda: database.catalog.write("default", work))
    closing = threading.Thread(target=database.close)
    writing.start()
    assert begun.wait(10)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    may_end.set()
    closing.join(10)
    assert not closing.is_alive()
    writing.join()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/modelry.db"
    open_database(url).close()
    with sqlite3.connect(tmp_path / "modelry.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    with pytest.raises(Conflict, match="newer"):
        open_database(url)


def test_migrations_that_begin_at_once_agree(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/modelry.db"
    failures: list[BaseException] = []

    def open_and_close() -> None:
        try:
            open_database(url).close()
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            failures.append(error)

    threads = [threading.Thread(target=open_and_close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_busy_database_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelry.adapters.sql.engine.BUSY_TIMEOUT_MS", 20)
    database = open_database(f"sqlite:///{tmp_path}/modelry.db")
    samples.add_tenants(database)
    blocker = sqlite3.connect(tmp_path / "modelry.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Overloaded) as told:
        database.catalog.write(
            "default", lambda records: records.models.add(Model("default", "a", "tensor", NOW))
        )
    assert told.value.retry_after_s is not None
    blocker.close()
    assert database.catalog.read("default", lambda records: records.models.all()) == []
    database.close()


def test_moments_need_a_timezone() -> None:
    with pytest.raises(TypeError, match="timezone"):
        UtcDateTime().process_bind_param(NOW.replace(tzinfo=None), None)  # type: ignore[arg-type] # the dialect is not looked at


def test_migrations_travel_with_the_package() -> None:
    from modelry.adapters.sql import schema

    names = [path.name for path in (schema._MIGRATIONS / "versions").glob("*.py")]
    assert names
    assert all(re.fullmatch(r"\d{4}_[a-z_]+\.py", name) for name in names)
    assert (schema._MIGRATIONS / "env.py").is_file()


MIGRATING = """
import sys
import sqlite3
from modelry.adapters.sql import database
print("ready", flush=True)
while True:
    database.open_database(f"sqlite:///{sys.argv[1]}/{sys.stdin.readline().strip()}.db").close()
    print("done", flush=True)
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.025])
def test_a_migration_that_is_killed_is_done_again(tmp_path: Path, delay_s: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", MIGRATING, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        child.stdin.write("modelry\n")
        child.stdin.flush()
        threading.Event().wait(delay_s)  # a random point of the migration, not a synchronisation
        os.kill(child.pid, signal.SIGKILL)
    database = open_database(f"sqlite:///{tmp_path}/modelry.db")
    samples.add_tenants(database)
    database.close()
