"""The store of sessions."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import CursorResult, and_, delete, or_, select
from sqlalchemy.orm import Session

from modelry.adapters.sql.stores import rows
from modelry.adapters.sql.tables import MemberRow, SessionRow, TenantRow
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.access import Member, TenantState
from modelry.services.signin.ports import MemberSession


class SqlSessionStore:
    """Implements `SessionStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def add(self, session: MemberSession) -> None:
        """See `SessionStore.add`."""

        def work(database: Session) -> None:
            database.add(
                SessionRow(
                    tenant_id=session.tenant_id,
                    session_id=session.session_id,
                    member_id=session.member_id,
                    token_hmac=session.token_hmac,
                    created_at=session.created_at,
                    seen_at=session.seen_at,
                    expires_at=session.expires_at,
                    browser=session.browser,
                )
            )
            database.flush()

        self._transactions.write(session.tenant_id, work)

    def of_member(self, tenant_id: str, member_id: str) -> list[MemberSession]:
        """See `SessionStore.of_member`."""
        query = (
            select(SessionRow)
            .where(SessionRow.member_id == member_id)
            .order_by(SessionRow.created_at.desc(), SessionRow.session_id)
        )
        return self._transactions.read(
            tenant_id, lambda database: [_session(row) for row in database.scalars(query)]
        )

    def active(self, now: datetime, seen_after: datetime) -> list[tuple[MemberSession, Member]]:
        """See `SessionStore.active`."""
        query = (
            select(SessionRow, MemberRow)
            .join(
                MemberRow,
                and_(
                    MemberRow.tenant_id == SessionRow.tenant_id,
                    MemberRow.member_id == SessionRow.member_id,
                ),
            )
            .join(TenantRow, TenantRow.tenant_id == SessionRow.tenant_id)
            .where(
                SessionRow.expires_at > now,
                SessionRow.seen_at > seen_after,
                MemberRow.disabled_at.is_(None),
                TenantRow.state == TenantState.ACTIVE.value,
            )
        )
        return self._transactions.read_all_tenants(
            "check callers",
            lambda database: [
                (_session(session), rows.member(member))
                for session, member in database.execute(query)
            ],
        )

    def note_seen(self, seen: Collection[tuple[str, str, datetime]]) -> None:
        """See `SessionStore.note_seen`."""
        if not seen:
            return

        def work(database: Session) -> None:
            for tenant_id, session_id, at in seen:
                row = database.get(SessionRow, (tenant_id, session_id))
                if row is not None and row.seen_at < at:
                    row.seen_at = at

        self._transactions.write_all_tenants("note the use of sessions", work)

    def end(self, tenant_id: str, member_id: str, session_id: str) -> bool:
        """See `SessionStore.end`."""

        def work(database: Session) -> bool:
            row = database.get(SessionRow, (tenant_id, session_id))
            if row is None or row.member_id != member_id:
                return False
            database.delete(row)
            return True

        return self._transactions.write(tenant_id, work)

    def end_all(self, tenant_id: str, member_id: str) -> int:
        """See `SessionStore.end_all`."""

        def work(database: Session) -> int:
            query = select(SessionRow).where(SessionRow.member_id == member_id)
            found = list(database.scalars(query))
            for row in found:
                database.delete(row)
            return len(found)

        return self._transactions.write(tenant_id, work)

    def forget(self, now: datetime, seen_after: datetime) -> int:
        """See `SessionStore.forget`."""
        query = delete(SessionRow).where(
            or_(SessionRow.expires_at <= now, SessionRow.seen_at <= seen_after)
        )

        def work(database: Session) -> int:
            done = database.execute(query)
            return done.rowcount if isinstance(done, CursorResult) else 0

        return self._transactions.write_all_tenants("forget ended sessions", work)


def _session(row: SessionRow) -> MemberSession:
    return MemberSession(
        tenant_id=row.tenant_id,
        session_id=row.session_id,
        member_id=row.member_id,
        token_hmac=row.token_hmac,
        created_at=row.created_at,
        seen_at=row.seen_at,
        expires_at=row.expires_at,
        browser=row.browser,
    )
