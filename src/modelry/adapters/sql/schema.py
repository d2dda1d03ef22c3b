"""Brings a database to the schema of this program, in one transaction."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from modelry.adapters.sql import row_security
from modelry.adapters.sql.engine import is_sqlite
from modelry.domain.errors import Conflict

_MIGRATIONS = Path(__file__).with_name("migrations")
_LOCK_KEY = 0x6D6F64656C7279
"""PostgreSQL advisory lock: one server migrates, the others wait."""


def migrate(engine: Engine, serving_role: str | None = None) -> None:
    """Apply the migrations that are missing, and what keeps tenants apart; all of it or nothing.

    Args:
        engine: connects as a role that may change the schema, if anything is missing.
        serving_role: on PostgreSQL, the role that requests are served under.

    Raises:
        Conflict: the database was written by a newer Modelry, or its tables are not protected
            and this role may not mend that.
    """
    with _seeing_what_others_did(engine).begin() as connection:
        if serving_role is None:
            _upgrade(connection)
            return
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")
        row_security.enter_system(connection, "migrate")
        _upgrade(connection)
        row_security.protect(connection)
        row_security.grant(connection, serving_role)


@cache
def _revisions() -> tuple[str, ...]:
    """All revisions, newest first; reading them takes longer than opening a database."""
    return tuple(script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions())


def _upgrade(connection: Connection) -> None:
    current = MigrationContext.configure(connection).get_current_revision()
    if current == _revisions()[0]:
        return
    if current is not None and current not in _revisions():
        raise Conflict(
            f"The database has the schema '{current}', which this version of Modelry does "
            "not know: it was written by a newer one. Start that version, or restore a "
            "backup from before the upgrade."
        )
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _seeing_what_others_did(engine: Engine) -> Engine:
    """On PostgreSQL, without the snapshot that is taken before the wait for another server."""
    if is_sqlite(engine):
        return engine
    return engine.execution_options(isolation_level="READ COMMITTED")
