"""No code goes round the tenant filter, and no row can refer to another tenant's."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import modelry
from modelry.adapters.sql.tables import Base, TenantScoped

PACKAGE = Path(modelry.__file__).parent
SQL = PACKAGE / "adapters" / "sql"

DATABASE_LIBRARIES = {"sqlalchemy", "alembic", "psycopg", "sqlite3"}
IMPORTERS = {"cli/checks/software.py": {"sqlite3"}}
"""Outside of `adapters/sql`, who may import which of them: the doctor asks for a version."""

IN_STORES = {
    "sqlalchemy": {
        "ColumnElement", "CursorResult", "Select", "and_", "case", "delete", "distinct", "exists",
        "func", "inspect", "literal", "not_", "or_", "select", "tuple_", "update",
    },
    "sqlalchemy.orm": {"InstrumentedAttribute", "Session", "aliased", "defer"},
}  # fmt: skip
"""What stores may import: words for ORM statements, and sessions to be given to them."""
PAST_THE_FACTORY = {
    "__table__", "begin", "begin_nested", "bind", "bulk_insert_mappings", "bulk_save_objects",
    "bulk_update_mappings", "connect", "connection", "create_engine", "dispose", "engine",
    "exec_driver_sql", "execution_options", "from_statement", "get_bind", "get_transaction",
    "local_table", "insert", "raw_connection", "set_config", "text", "with_statement_hint",
}  # fmt: skip
"""Names that lead from a session or a table to where the filter does not reach."""
CORE = {
    "database.py": {"dispose"},
    "engine.py": {"begin", "connect", "create_engine", "exec_driver_sql"},
    "row_security.py": {"connect", "exec_driver_sql", "local_table", "set_config"},
    "schema.py": {"begin", "connection", "exec_driver_sql", "execution_options"},
    "sessions.py": {"TenantSession"},
    "transactions.py": {"connection", "execution_options"},
}
"""Who in the package's own files may do which of this, and nobody else."""
STORES = {"deletions.py": {"execution_options", "local_table"}}
"""Stores that do more than most: deleting a tenant walks all tables in the order of references."""
MAKERS = {"Session", "TenantSession", "scoped_session", "sessionmaker"}
FUNCTIONS = MAKERS | {"create_engine", "insert", "text"}
"""Those of the names that are functions, and not only methods."""


def imports(tree: ast.AST) -> Iterator[tuple[str, set[str], int]]:
    """Module, names and line of every import; no names where all of a module is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, set(), node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", {alias.name for alias in node.names}, node.lineno


def names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every attribute, called name and text of one word: `getattr` is no way round."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in FUNCTIONS:
                yield node.func.id, node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno


def ways_round(path: str, source: str) -> list[str]:
    """What in a file of the package goes past the session factory."""
    tree = ast.parse(source)
    if not path.startswith("adapters/sql/"):
        allowed = IMPORTERS.get(path, set())
        return [
            f"{path}:{line} imports {module}"
            for module, _, line in imports(tree)
            if module.split(".")[0] in DATABASE_LIBRARIES - allowed
        ]
    if "/migrations/" in path or "/tables/" in path:
        return []
    if "/stores/" not in path:
        banned = (PAST_THE_FACTORY | MAKERS) - CORE.get(Path(path).name, set()) - {"engine"}
        return [f"{path}:{line} {name}" for name, line in names(tree) if name in banned]
    found = []
    for module, wanted, line in imports(tree):
        root = module.split(".")[0]
        if root in DATABASE_LIBRARIES and (not wanted or wanted - IN_STORES.get(module, set())):
            found.append(f"{path}:{line} imports {sorted(wanted)} from {module}")
        if module.startswith("modelry.adapters.sql.") and module.split(".")[3] in {
            "database", "engine", "row_security", "schema", "sessions",
        }:  # fmt: skip
            found.append(f"{path}:{line} imports {module}")
    banned = (PAST_THE_FACTORY | MAKERS) - STORES.get(Path(path).name, {"execution_options"})
    found += [f"{path}:{line} {name}" for name, line in names(tree) if name in banned]
    found += [
        f"{path}:{node.lineno} changes whose a session is"
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AugAssign | ast.Delete)
        and ".info" in ast.unparse(node)
        and any(".info" in ast.unparse(target) for target in targets(node))
    ]
    return found


def targets(node: ast.Assign | ast.AugAssign | ast.Delete) -> list[ast.expr]:
    return [node.target] if isinstance(node, ast.AugAssign) else node.targets


def test_nothing_goes_past_the_session_factory() -> None:
    found = []
    for path in PACKAGE.rglob("*.py"):
        found += ways_round(path.relative_to(PACKAGE).as_posix(), path.read_text())
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "from sqlalchemy import text",
        "from sqlalchemy import text as words",
        "import sqlalchemy as sa",
        "import sqlalchemy.orm",
        "from sqlalchemy.sql import text",
        "from sqlalchemy.orm import sessionmaker",
        "from sqlalchemy import insert",
        "import psycopg",
        "import sqlite3",
        "from modelry.adapters.sql.sessions import open_system_session",
        "from modelry.adapters.sql.engine import open_engine",
        "session.connection().execute(query)",
        "getattr(session, 'connection')()",
        "session.get_bind()",
        "session.bind.connect()",
        "select(ModelRow.__table__)",
        "Session(engine)",
        "session.info['tenant_id'] = other",
        "del session.info['tenant_id']",
        "session.execute(select(func.set_config('modelry.tenant', other, True)))",
        "select(ModelRow).from_statement(query)",
        "session.bulk_insert_mappings(ModelRow, rows)",
    ],
)
def test_ways_round_are_found_in_stores(source: str) -> None:
    assert ways_round("adapters/sql/stores/sly.py", source) != []


@pytest.mark.parametrize("path", ["services/catalog/sly.py", "bootstrap/sly.py", "adapters/x/y.py"])
@pytest.mark.parametrize("module", sorted(DATABASE_LIBRARIES))
def test_databases_are_opened_in_one_package(path: str, module: str) -> None:
    assert ways_round(path, f"import {module}") != []
    assert ways_round(path, f"def work():\n    from {module}.sub import thing") != []


def test_what_stores_do_is_allowed() -> None:
    source = "tenant_id = session.info['tenant_id']\nsession.scalars(select(ModelRow))"
    assert ways_round("adapters/sql/stores/plain.py", source) == []


def test_every_key_leads_with_the_tenant() -> None:
    """So that no row can refer to another tenant's, whatever a query forgets."""
    scoped = 0
    for mapper in Base.registry.mappers:
        table = mapper.local_table
        if not issubclass(mapper.class_, TenantScoped):
            assert not table.foreign_key_constraints
            continue
        scoped += 1
        assert next(iter(table.primary_key.columns)).name == "tenant_id"
        assert not table.columns["tenant_id"].nullable
        for constraint in table.foreign_key_constraints:
            pairs = [(one.parent.name, one.column.name) for one in constraint.elements]
            assert pairs[0] == ("tenant_id", "tenant_id"), f"{table.name}: {constraint.name}"
        belongs = [one.referred_table for one in table.foreign_key_constraints]
        assert belongs or table.name == "tenants", f"{table.name}: rows of no tenant could be kept"
    assert scoped > 10


def test_every_table_is_one_of_a_row_class() -> None:
    mapped = {mapper.local_table.name for mapper in Base.registry.mappers}
    assert mapped == set(Base.metadata.tables), "a table that no policy would be made for"
