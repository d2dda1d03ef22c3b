"""Connections: how each database is opened so that a committed transaction survives anything."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from modelry.domain.errors import InvalidInput

BUSY_TIMEOUT_MS = 15_000
POOL_SIZE = 16
READ_ONLY_OPTIONS: dict[str, Any] = {"modelry_read_only": True, "postgresql_readonly": True}
"""Execution options of connections for reading: they take no write lock."""

_CONNECTING: dict[str, Any] = {"connect_timeout": 10, "application_name": "modelry"}
"""Parameters of connections to PostgreSQL where the URL does not give them; seconds."""

_WAL_FIXED_FROM = (3, 51, 3)
_WAL_FIXED_IN_LINES = ((3, 50, 7), (3, 44, 6))


def is_wal_safe(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite is free of the WAL-reset bug, which can corrupt a database."""
    return version >= _WAL_FIXED_FROM or any(
        version[:2] == fixed[:2] and version >= fixed for fixed in _WAL_FIXED_IN_LINES
    )


def is_sqlite(engine: Engine) -> bool:
    """Whether `engine` speaks to SQLite."""
    return engine.dialect.name == "sqlite"


def open_engine(url: str) -> Engine:
    """An engine for `url`; creates the folder and the file of a SQLite database.

    Errors name statements without their parameters: those are tenants' words.

    Raises:
        InvalidInput: not a usable URL of a supported database.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        return _open_postgresql(parsed)
    _create_private_file(Path(parsed.database or ""))
    engine = create_engine(
        parsed,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000},
        pool_size=POOL_SIZE,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _open_postgresql(url: URL) -> Engine:
    if url.drivername not in ("postgresql", "postgresql+psycopg"):
        raise InvalidInput(
            f"The driver '{url.get_driver_name()}' is not supported; write "
            "'postgresql+psycopg://…'.",
            param="database_url",
        )
    given = {name: value for name, value in _CONNECTING.items() if name not in url.query}
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            isolation_level="SERIALIZABLE",
            pool_pre_ping=True,
            pool_size=POOL_SIZE,
            hide_parameters=True,
            connect_args=given,
        )
    except ImportError:
        raise InvalidInput(
            "PostgreSQL needs the package psycopg, which is not installed; run: "
            "pip install 'modelry[postgres]'.",
            param="database_url",
        ) from None


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except ArgumentError:
        raise InvalidInput(
            "The database URL is not understood; expected 'sqlite:////absolute/path/modelry.db' "
            "or 'postgresql+psycopg://user:password@host/database'.",
            param="database_url",
        ) from None
    if backend not in ("sqlite", "postgresql"):
        raise InvalidInput(
            f"The database '{backend}' is not supported; expected sqlite or postgresql.",
            param="database_url",
        )
    if backend == "sqlite" and (parsed.database or ":memory:").startswith((":memory:", "file:")):
        raise InvalidInput(
            "A SQLite database in memory would forget everything; give a file: "
            "'sqlite:////absolute/path/modelry.db'.",
            param="database_url",
        )
    return parsed


def _create_private_file(path: Path) -> None:
    """Create the database file for its owner alone; SQLite gives its journal the same mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _prepare_sqlite(connection: sqlite3.Connection, record: object) -> None:
    del record
    # SQLAlchemy begins transactions (see _begin_sqlite); the driver would begin them late.
    connection.isolation_level = None
    wal_safe = is_wal_safe(sqlite3.sqlite_version_info)
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        f"journal_mode = {'WAL' if wal_safe else 'DELETE'}",
        "synchronous = FULL",
        "foreign_keys = ON",
        "trusted_schema = OFF",
        "secure_delete = ON",  # so that a destroyed key does not lie on in free pages
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at the start: a reader that turns writer could not wait for it."""
    read_only = connection.get_execution_options().get("modelry_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
