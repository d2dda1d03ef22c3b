"""The one place that opens database sessions, and puts the tenant filter on them.

A session belongs to one tenant or is a named system session. In a tenant's session every ORM
statement is narrowed to the tenant's rows, rows of another tenant cannot be flushed, and
statements that the filter cannot reach (Core, raw text, bulk inserts) are refused. PostgreSQL
checks the same below it (see `row_security`), so each transaction tells it whose it is.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import (
    ORMExecuteState,
    Session,
    SessionTransaction,
    UOWTransaction,
    with_loader_criteria,
)

from modelry.adapters.sql.row_security import enter_system, enter_tenant
from modelry.adapters.sql.tables import TenantScoped

_TENANT = "tenant_id"
_SYSTEM = "system"


class TenantIsolationError(RuntimeError):
    """A defect of ours: code tried to step around the tenant filter."""


class TenantSession(Session):
    """A session with the tenant filter; made by `open_tenant_session` and `open_system_session`."""


def open_tenant_session(engine: Engine, tenant_id: str) -> Session:
    """A session that sees and writes rows of `tenant_id` only."""
    if not tenant_id:
        raise TenantIsolationError("a session needs the id of its tenant")
    return TenantSession(engine, expire_on_commit=False, info={_TENANT: tenant_id})


def open_system_session(engine: Engine, purpose: str) -> Session:
    """A session over all tenants, for what the server itself does; `purpose` says what."""
    if not purpose:
        raise TenantIsolationError("a session over all tenants needs a purpose")
    return TenantSession(engine, expire_on_commit=False, info={_SYSTEM: purpose})


@event.listens_for(TenantSession, "after_begin")
def _tell_the_database(
    session: Session, transaction: SessionTransaction, connection: Connection
) -> None:
    del transaction
    if _SYSTEM in session.info:
        enter_system(connection, session.info[_SYSTEM])
    elif _TENANT in session.info:
        enter_tenant(connection, session.info[_TENANT])


@event.listens_for(TenantSession, "do_orm_execute")
def _narrow(state: ORMExecuteState) -> None:
    info = state.session.info
    if _SYSTEM in info:
        return
    tenant_id = info.get(_TENANT)
    if tenant_id is None:
        raise TenantIsolationError("a session was opened past the session factory")
    if not state.is_orm_statement or state.is_insert or state.is_from_statement:
        raise TenantIsolationError(
            "statements in a tenant's session must be ORM selects, updates or deletes; "
            "add rows with session.add"
        )
    state.statement = state.statement.options(
        with_loader_criteria(
            TenantScoped, lambda row: row.tenant_id == tenant_id, include_aliases=True
        )
    )


@event.listens_for(TenantSession, "before_flush")
def _refuse_foreign_rows(session: Session, context: UOWTransaction, instances: Any) -> None:
    del context, instances
    if _SYSTEM in session.info:
        return
    tenant_id = session.info.get(_TENANT)
    for row in (*session.new, *session.dirty, *session.deleted):
        if not isinstance(row, TenantScoped) or row.tenant_id != tenant_id:
            raise TenantIsolationError(
                f"a {type(row).__name__} of another tenant, or of none, in a tenant's session"
            )
