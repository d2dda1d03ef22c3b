"""SQLite databases as copies of one: bringing one to the schema takes longer than most tests."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from modelry.adapters.sql.database import Database, open_database
from modelry.testing.samples import add_tenants


def with_tenants(folder: Path) -> Database:
    """A database in `folder` with the two tenants of `testing.samples`."""
    path = folder / "modelry.db"
    path.write_bytes(_template())
    return open_database(f"sqlite:///{path}")


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "modelry.db"
        database = open_database(f"sqlite:///{path}")
        add_tenants(database)
        database.close()
        return path.read_bytes()
