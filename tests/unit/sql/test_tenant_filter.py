"""No statement in a tenant's session reaches another tenant's rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.orm import Session, aliased

import modelry
from modelry.adapters.sql.database import open_database
from modelry.adapters.sql.engine import open_engine
from modelry.adapters.sql.sessions import (
    TenantIsolationError,
    TenantSession,
    open_system_session,
    open_tenant_session,
)
from modelry.adapters.sql.tables import BlobRow, ModelRow
from modelry.domain.catalog import Model
from modelry.testing import samples
from modelry.testing.samples import NOW

TENANTS = ("default", samples.OTHER_TENANT_ID)


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/modelry.db"
    database = open_database(url)
    samples.add_tenants(database)
    for tenant in TENANTS:
        database.catalog.write(
            tenant,
            lambda records, tenant=tenant: records.models.add(Model(tenant, "pets", "tensor", NOW)),
        )
    database.close()
    return url


@pytest.fixture
def session(url: str) -> Iterator[Session]:
    engine = open_engine(url)
    with open_tenant_session(engine, "default") as session:
        yield session
    engine.dispose()


def test_selects_are_narrowed(session: Session) -> None:
    assert [row.tenant_id for row in session.scalars(select(ModelRow))] == ["default"]
    assert session.scalar(select(func.count()).select_from(ModelRow)) == 1
    assert session.scalar(select(func.max(ModelRow.tenant_id))) == "default"
    assert session.get(ModelRow, (samples.OTHER_TENANT_ID, "pets")) is None


def test_joins_and_subqueries_are_narrowed(session: Session) -> None:
    other = aliased(ModelRow)
    joined = select(other.tenant_id).join(ModelRow, ModelRow.name == other.name)
    assert session.scalars(joined).all() == ["default"]
    nested = select(ModelRow.name).where(
        ModelRow.name.in_(select(other.name).where(other.tenant_id == samples.OTHER_TENANT_ID))
    )
    assert session.scalars(nested).all() == []
    union = select(ModelRow.tenant_id).union_all(select(other.tenant_id))
    assert session.scalars(union).all() == ["default", "default"]


def test_updates_and_deletes_are_narrowed(session: Session, url: str) -> None:
    session.execute(update(ModelRow).values(task="chat"))
    session.execute(delete(ModelRow).where(ModelRow.tenant_id == samples.OTHER_TENANT_ID))
    session.commit()
    engine = open_engine(url)
    with open_system_session(engine, "look") as everything:
        found = {row.tenant_id: row.task for row in everything.scalars(select(ModelRow))}
    engine.dispose()
    assert found == {"default": "chat", samples.OTHER_TENANT_ID: "tensor"}


@pytest.mark.parametrize(
    "statement",
    [
        text("SELECT * FROM models"),
        select(ModelRow.__table__),
        ModelRow.__table__.delete(),
        insert(ModelRow).values(tenant_id="other", name="x"),
        select(ModelRow).from_statement(text("SELECT * FROM models")),
        text("PRAGMA user_version"),
    ],
    ids=["text", "core", "core-delete", "bulk-insert", "orm-over-text", "pragma"],
)
def test_what_the_filter_cannot_reach_is_refused(session: Session, statement: object) -> None:
    with pytest.raises(TenantIsolationError):
        session.execute(statement)


def test_rows_of_another_tenant_cannot_be_written(session: Session) -> None:
    session.add(
        BlobRow(tenant_id=samples.OTHER_TENANT_ID, digest="d", size_bytes=1, created_at=NOW)
    )
    with pytest.raises(TenantIsolationError):
        session.flush()


def test_a_row_cannot_be_given_away(session: Session) -> None:
    row = session.scalars(select(ModelRow)).one()
    row.tenant_id = samples.OTHER_TENANT_ID
    with pytest.raises(TenantIsolationError):
        session.flush()


def test_a_session_has_a_tenant(url: str) -> None:
    engine = open_engine(url)
    with pytest.raises(TenantIsolationError):
        open_tenant_session(engine, "")
    with pytest.raises(TenantIsolationError):
        open_system_session(engine, "")
    with TenantSession(engine) as session, pytest.raises(TenantIsolationError):
        session.execute(select(ModelRow))
    engine.dispose()


WITHOUT_TENANT = {
    "server_settings",  # about the whole server
    "tenant_deletions",  # outlives its tenant
    "quota_gateways",  # processes that serve every tenant
}


def test_system_sessions_are_opened_by_these_only() -> None:
    package = Path(modelry.__file__).parent
    users = {
        path.name
        for path in package.rglob("*.py")
        if "_all_tenants(" in path.read_text() or "open_system_session(" in path.read_text()
    }
    assert users == {
        "sessions.py", "transactions.py", "keys.py", "deployments.py", "usage.py", "catalog.py",
        "data_keys.py", "quotas.py", "deletions.py",
        "audit.py", "files.py", "jobs.py", "request_logs.py",
    }  # fmt: skip
