"""As on SQLite: rows of a real PostgreSQL that are changed, taken away, inserted or moved."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection

from modelry.adapters.sql.database import Database, open_database
from modelry.adapters.sql.engine import open_engine
from modelry.adapters.sql.row_security import enter_system
from modelry.domain.access import DEFAULT_TENANT_ID
from modelry.services.audit.chain import ChainKeys
from modelry.services.audit.trail import ChainedTrail
from modelry.services.audit.verifier import verify_chain
from modelry.testing.samples import OTHER_TENANT_ID

KEYS = ChainKeys(b"k" * 32)
COLUMNS = "at, actor, action, resource, outcome, detail, previous_mac, mac"
HARMS = [
    *(
        f"UPDATE audit_entries SET {column} = {value} WHERE sequence = 3"
        for column, value in (
            ("at", "at + interval '1 microsecond'"),
            ("actor", "'x'"),
            ("action", "'x'"),
            ("resource", "'x'"),
            ("outcome", "'x'"),
            ("detail", "'{\"a\":1}'"),
            ("mac", r"'\x00'"),
            ("previous_mac", r"'\x00'"),
            ("sequence", "99"),
            ("tenant_id", f"'{OTHER_TENANT_ID}'"),
        )
    ),
    "DELETE FROM audit_entries WHERE sequence = 3",
    "DELETE FROM audit_entries WHERE sequence >= 3",
    "DELETE FROM audit_entries",
    "DELETE FROM audit_heads",
    "UPDATE audit_heads SET sequence = sequence - 1",
    "UPDATE audit_heads SET anchor_sequence = 2",
    f"INSERT INTO audit_entries SELECT tenant_id, 7, {COLUMNS} FROM audit_entries "  # noqa: ISC004
    "WHERE sequence = 6",
]


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    found = open_database(postgres_url)
    trail = ChainedTrail(found.audit, KEYS)
    for number in range(6):
        trail.append(DEFAULT_TENANT_ID, actor="a", action="b.c", resource=f"/{number}")
    yield found
    found.close()


@pytest.fixture
def harmed(postgres_url: str, database: Database) -> Iterator[Connection]:
    engine = open_engine(postgres_url)
    with engine.connect() as connection:
        enter_system(connection, "do harm")
        for table in ("audit_entries", "audit_heads"):
            connection.exec_driver_sql(f"CREATE TEMP TABLE kept_{table} AS TABLE {table}")
        connection.commit()
        yield connection
    engine.dispose()


def test_any_change_of_rows_is_found(database: Database, harmed: Connection) -> None:
    ends = database.audit.ends(DEFAULT_TENANT_ID)
    head = KEYS.signed(DEFAULT_TENANT_ID, ends.sequence, ends.mac, datetime.now(UTC))
    for harm in HARMS:
        assert verify_chain(database.audit, KEYS, DEFAULT_TENANT_ID, [head]).is_sound
        enter_system(harmed, "do harm")
        assert harmed.exec_driver_sql(harm).rowcount > 0, harm
        harmed.commit()
        assert verify_chain(database.audit, KEYS, DEFAULT_TENANT_ID, [head]).breaks, harm
        enter_system(harmed, "mend")
        for table in ("audit_entries", "audit_heads"):
            harmed.exec_driver_sql(f"DELETE FROM {table}")
            harmed.exec_driver_sql(f"INSERT INTO {table} SELECT * FROM kept_{table}")
        harmed.commit()
