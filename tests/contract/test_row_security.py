"""PostgreSQL keeps tenants apart by itself, also from code that forgets to, on every table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.types.json import Jsonb
from sqlalchemy import Date, Integer, LargeBinary, Table, select
from sqlalchemy.types import JSON, BigInteger, Boolean, Double, Float, String
from tests.support.postgres import APP, OWNER, PostgresDatabases, Urls

from modelry.adapters.sql.columns import UtcDateTime
from modelry.adapters.sql.database import open_database
from modelry.adapters.sql.engine import open_engine
from modelry.adapters.sql.row_security import tenant_tables, unprotected
from modelry.adapters.sql.sessions import open_system_session, open_tenant_session
from modelry.adapters.sql.tables import Base, ModelRow
from modelry.domain.errors import Conflict, InvalidInput
from modelry.testing.samples import NOW, OTHER_TENANT_ID

MINE, THEIRS = "default", OTHER_TENANT_ID
TABLES_OF_NO_TENANT = {"server_settings", "tenant_deletions", "quota_gateways"}
"""What the server knows of itself, and ids that are never given out again."""
NAMES = sorted(table.name for table in tenant_tables())


def plain_value(column: Any, tenant_id: str) -> Any:
    """Any value of the column's type; the same everywhere, so that references hold."""
    match column.type:
        case _ if column.name == "tenant_id":
            return tenant_id
        case String():
            return "x"
        case Boolean():
            return True
        case Integer() | BigInteger() | Float() | Double():
            return 1
        case UtcDateTime():
            return NOW
        case Date():
            return NOW.date()
        case LargeBinary():
            return f"{column.name} {tenant_id}".encode()
        case JSON():
            return Jsonb({})
    raise AssertionError(f"{column}: which value has the type {column.type}?")


def row_of(table: Table, tenant_id: str, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    row = {column.name: plain_value(column, tenant_id) for column in table.columns}
    for constraint in table.foreign_key_constraints:
        for element in constraint.elements:
            if element.column.table is not table:
                row[element.parent.name] = rows[element.column.table.name][element.column.name]
    return row


def insert(connection: psycopg.Connection, table: str, row: dict[str, Any]) -> None:
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
        ),
        list(row.values()),
    )


@pytest.fixture(scope="module")
def filled(postgres: PostgresDatabases) -> Iterator[tuple[Urls, dict[str, dict[str, Any]]]]:
    """A database with one row of either tenant in every table, and their rows."""
    with postgres.prepared() as urls:
        rows: dict[str, dict[str, Any]] = {}
        with postgres.server.connect(urls.name) as admin:
            for tenant_id in (MINE, THEIRS):
                for table in Base.metadata.sorted_tables:
                    if table.name in NAMES:
                        rows[table.name] = row_of(table, tenant_id, rows)
                        if table.name != "tenants":
                            insert(admin, table.name, rows[table.name])
        yield urls, rows


@pytest.fixture(params=[APP, OWNER])
def raw(
    request: pytest.FixtureRequest,
    postgres: PostgresDatabases,
    filled: tuple[Urls, dict[str, dict[str, Any]]],
) -> Iterator[psycopg.Connection]:
    """A connection past all of our code; whatever it does is undone."""
    with postgres.server.connect(filled[0].name, request.param) as connection:
        connection.autocommit = False
        yield connection
        connection.rollback()


def enter(connection: psycopg.Connection, tenant_id: str) -> None:
    connection.execute("SELECT set_config('modelry.tenant', %s, true)", (tenant_id,))


def tenants_in(connection: psycopg.Connection, table: str) -> list[str]:
    query = sql.SQL("SELECT tenant_id FROM {} ORDER BY 1").format(sql.Identifier(table))
    return [row[0] for row in connection.execute(query)]


def test_without_a_tenant_there_are_no_rows(raw: psycopg.Connection) -> None:
    assert {name: tenants_in(raw, name) for name in NAMES} == {name: [] for name in NAMES}
    enter(raw, "")
    assert {name: tenants_in(raw, name) for name in NAMES} == {name: [] for name in NAMES}


def test_a_tenant_sees_its_rows_and_no_others(raw: psycopg.Connection) -> None:
    for tenant_id in (MINE, THEIRS):
        enter(raw, tenant_id)
        for name in NAMES:
            assert tenants_in(raw, name) == [tenant_id], name


def test_the_server_itself_sees_all(raw: psycopg.Connection) -> None:
    raw.execute("SET LOCAL modelry.system = 'a test'")
    for name in NAMES:
        assert tenants_in(raw, name) == [MINE, THEIRS], name


def test_it_ends_with_the_transaction(raw: psycopg.Connection) -> None:
    enter(raw, MINE)
    raw.execute("SET LOCAL modelry.system = 'a test'")
    raw.commit()
    assert tenants_in(raw, "tenants") == []


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_others_cannot_be_changed(
    raw: psycopg.Connection, filled: tuple[Urls, dict[str, dict[str, Any]]], name: str
) -> None:
    enter(raw, MINE)
    table = sql.Identifier(name)
    query = sql.SQL("UPDATE {} SET tenant_id = tenant_id WHERE tenant_id = %s").format(table)
    assert raw.execute(query, (THEIRS,)).rowcount == 0
    assert raw.execute(query, (MINE,)).rowcount == 1
    delete = sql.SQL("DELETE FROM {} WHERE tenant_id = %s").format(table)
    assert raw.execute(delete, (THEIRS,)).rowcount == 0
    their_row = filled[1][name]
    assert their_row["tenant_id"] == THEIRS
    with pytest.raises(errors.InsufficientPrivilege, match="row-level security"), raw.transaction():
        insert(raw, name, their_row)
    give_away = sql.SQL("UPDATE {} SET tenant_id = %s").format(table)
    with pytest.raises(errors.InsufficientPrivilege, match="row-level security"), raw.transaction():
        raw.execute(give_away, (THEIRS,))
    upsert = sql.SQL("INSERT INTO {} SELECT * FROM {} ON CONFLICT DO NOTHING").format(table, table)
    assert raw.execute(upsert).rowcount == 0


def test_a_query_that_escapes_our_filter_is_narrowed_below(
    filled: tuple[Urls, dict[str, dict[str, Any]]],
) -> None:
    """The defect that row-level security is for: a statement in a tenant's session, unfiltered."""
    engine = open_engine(filled[0].app)
    with open_tenant_session(engine, MINE) as session:
        found = session.connection().execute(select(ModelRow.__table__.c.tenant_id))
        assert found.scalars().all() == [MINE]
        session.rollback()
        found = session.connection().execute(select(ModelRow.__table__.c.tenant_id))
        assert found.scalars().all() == [MINE]
    with open_system_session(engine, "a test") as session:
        assert set(session.scalars(select(ModelRow.tenant_id))) == {MINE, THEIRS}
    with engine.connect() as connection:
        assert connection.execute(select(ModelRow.__table__)).all() == []
    engine.dispose()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE models DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE models NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY modelry_tenant ON models",
        "CREATE POLICY mine ON models USING (true)",
        "TRUNCATE models",
        "CREATE TABLE mine (id integer)",
        "ALTER TABLE models ADD COLUMN mine integer",
        "UPDATE alembic_version SET version_num = '0000'",
        f"SET ROLE {OWNER}",
        "SET SESSION AUTHORIZATION postgres",
        f"ALTER ROLE {APP} BYPASSRLS",
        "GRANT SELECT ON models TO PUBLIC",
    ],
)
def test_the_serving_role_cannot_change_the_rules(
    postgres: PostgresDatabases, filled: tuple[Urls, object], statement: str
) -> None:
    with postgres.server.connect(filled[0].name, APP) as connection:
        connection.autocommit = False
        if statement.startswith("GRANT"):  # PostgreSQL only warns that nothing was granted
            connection.execute(statement)
            given = "SELECT count(*) FROM pg_class, aclexplode(relacl) WHERE grantee = 0"
            found = connection.execute(f"{given} AND relname = 'models'").fetchone()
            assert found == (0,)
        else:
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(statement)
        connection.rollback()


def gaps(url: str) -> list[str]:
    engine = open_engine(url)
    with engine.connect() as connection:
        found = unprotected(connection)
    engine.dispose()
    return found


@pytest.mark.parametrize(
    "harm",
    [
        "ALTER TABLE models DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE models NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY modelry_system ON models",
        "CREATE POLICY everybody ON models USING (true)",
        "ALTER POLICY modelry_tenant ON models USING (true)",
        "ALTER POLICY modelry_tenant ON models WITH CHECK (true)",
        f"ALTER POLICY modelry_system ON models TO {OWNER}",
    ],
)
def test_tables_that_lost_their_protection_are_not_served(
    postgres: PostgresDatabases, postgres_urls: Urls, harm: str
) -> None:
    assert gaps(postgres_urls.app) == []
    with postgres.server.connect(postgres_urls.name, OWNER) as owner:
        owner.execute(harm)
    assert gaps(postgres_urls.app) == ["models"]
    with pytest.raises(Conflict, match="MODELRY_DATABASE_OWNER_URL") as told:
        open_database(postgres_urls.app)
    assert "models" in told.value.message
    open_database(postgres_urls.app, postgres_urls.owner).close()
    assert gaps(postgres_urls.app) == []


def test_a_table_of_tenants_is_protected_without_asking(postgres_urls: Urls) -> None:
    """As a table that a later migration adds: only the metadata know it."""
    assert set(NAMES) >= {"tenants", "api_keys", "models", "audit_entries"}
    unscoped = {table.name for table in Base.metadata.sorted_tables} - set(NAMES)
    assert unscoped == TABLES_OF_NO_TENANT


def test_a_role_that_passes_over_it_is_refused(
    postgres: PostgresDatabases, postgres_urls: Urls
) -> None:
    with pytest.raises(InvalidInput, match="superuser") as told:
        open_database(postgres.server.url(postgres_urls.name))
    assert "CREATE ROLE" in told.value.message


def test_the_owner_alone_can_serve_within_the_rules(postgres: PostgresDatabases) -> None:
    with postgres.empty() as urls:
        database = open_database(urls.owner)
        assert database.catalog.tenant_ids() == []
        database.close()
        assert gaps(urls.owner) == []
        with pytest.raises(Conflict, match="MODELRY_DATABASE_OWNER_URL"):
            open_database(urls.app)


def test_an_empty_database_needs_the_owner(postgres: PostgresDatabases) -> None:
    with postgres.empty() as urls:
        with pytest.raises(Conflict, match="MODELRY_DATABASE_OWNER_URL"):
            open_database(urls.app)
        open_database(urls.app, urls.owner).close()
        open_database(urls.app).close()


def test_an_owners_url_is_not_for_sqlite(tmp_path: object) -> None:
    with pytest.raises(InvalidInput, match="PostgreSQL"):
        open_database(f"sqlite:///{tmp_path}/modelry.db", "postgresql://host/modelry")
