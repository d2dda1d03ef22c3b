"""The store of tenants, API keys and members."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import TypeVar

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from modelry.adapters.sql.stores import grants, rows
from modelry.adapters.sql.tables import (
    ApiKeyRow,
    MemberRow,
    QuotaLimitsRow,
    ServerSettingRow,
    TenantDeletionRow,
    TenantRow,
)
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.access import ApiKey, Member, Tenant
from modelry.domain.sharing import DeploymentGrant
from modelry.services.tenancy.ports import KeyRecords

T = TypeVar("T")


class SqlKeyStore:
    """Implements `KeyStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def read(self, tenant_id: str, work: Callable[[KeyRecords], T]) -> T:
        """See `KeyStore.read`."""
        return self._transactions.read(tenant_id, lambda session: work(SqlKeyRecords(session)))

    def write(self, tenant_id: str, work: Callable[[KeyRecords], T]) -> T:
        """See `KeyStore.write`."""
        return self._transactions.write(tenant_id, lambda session: work(SqlKeyRecords(session)))

    def all_keys(self) -> list[ApiKey]:
        """See `KeyStore.all_keys`."""
        return self._transactions.read_all_tenants(
            "check callers",
            lambda session: [rows.api_key(row) for row in session.scalars(select(ApiKeyRow))],
        )

    def all_tenants(self) -> list[Tenant]:
        """See `KeyStore.all_tenants`."""
        query = select(TenantRow).order_by(TenantRow.tenant_id)
        return self._transactions.read_all_tenants(
            "list tenants", lambda session: [rows.tenant(row) for row in session.scalars(query)]
        )

    def find_subject(self, issuer: str, subject: str) -> list[Member]:
        """See `KeyStore.find_subject`."""
        query = (
            select(MemberRow)
            .where(MemberRow.issuer == issuer, MemberRow.subject == subject)
            .order_by(MemberRow.created_at, MemberRow.tenant_id, MemberRow.member_id)
        )
        return self._transactions.read_all_tenants(
            "check callers", lambda session: [rows.member(row) for row in session.scalars(query)]
        )

    def grants_to(self, grantee_id: str) -> list[DeploymentGrant]:
        """See `KeyStore.grants_to`."""
        return self._transactions.read_all_tenants(
            "list what is shared", lambda session: grants.grants_to(session, grantee_id)
        )

    def all_grants(self) -> list[DeploymentGrant]:
        """See `KeyStore.all_grants`."""
        return self._transactions.read_all_tenants("list what is shared", grants.unrevoked)

    def find_hmac(self, secret_hmac: bytes) -> ApiKey | None:
        """See `KeyStore.find_hmac`."""

        def work(session: Session) -> ApiKey | None:
            query = select(ApiKeyRow).where(
                or_(ApiKeyRow.secret_hmac == secret_hmac, ApiKeyRow.previous_hmac == secret_hmac)
            )
            row = session.scalar(query)
            return None if row is None else rows.api_key(row)

        return self._transactions.read_all_tenants("check callers", work)

    def setting(self, name: str) -> str | None:
        """See `KeyStore.setting`."""

        def work(session: Session) -> str | None:
            row = session.get(ServerSettingRow, name)
            return None if row is None else row.value

        return self._transactions.read_all_tenants("server settings", work)

    def put_setting(self, name: str, value: str) -> None:
        """See `KeyStore.put_setting`."""

        def work(session: Session) -> None:
            session.merge(ServerSettingRow(name=name, value=value))

        self._transactions.write_all_tenants("server settings", work)


class SqlKeyRecords:
    """Implements `KeyRecords`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._tenant_id: str = session.info["tenant_id"]
        self.members = SqlMemberRecords(session)
        self.grants = grants.SqlGrantRecords(session)

    def tenant(self) -> Tenant | None:
        """See `KeyRecords.tenant`."""
        row = self._session.get(TenantRow, self._tenant_id)
        return None if row is None else rows.tenant(row)

    def add_tenant(self, tenant: Tenant) -> None:
        """See `KeyRecords.add_tenant`."""
        self._session.add(rows.tenant_row(tenant))
        self._session.flush()

    def put_tenant(self, tenant: Tenant) -> None:
        """See `KeyRecords.put_tenant`."""
        self._session.merge(rows.tenant_row(tenant))
        self._session.flush()

    def find(self, key_id: str) -> ApiKey | None:
        """See `KeyRecords.find`."""
        row = self._session.get(ApiKeyRow, (self._tenant_id, key_id))
        return None if row is None else rows.api_key(row)

    def all(self) -> list[ApiKey]:
        """See `KeyRecords.all`."""
        query = select(ApiKeyRow).order_by(ApiKeyRow.created_at, ApiKeyRow.key_id)
        return [rows.api_key(row) for row in self._session.scalars(query)]

    def put(self, key: ApiKey) -> None:
        """See `KeyRecords.put`."""
        self._session.merge(rows.api_key_row(key))
        self._session.flush()

    def note_used(self, key_ids: Collection[str], now: datetime) -> None:
        """See `KeyRecords.note_used`."""
        self._session.execute(
            update(ApiKeyRow)
            .where(ApiKeyRow.key_id.in_(key_ids))
            .values(last_used_at=now)
            .execution_options(synchronize_session=False)
        )

    def has_limits(self, key_id: str) -> bool:
        """See `KeyRecords.has_limits`."""
        row = self._session.get(QuotaLimitsRow, (self._tenant_id, key_id))
        return row is not None and bool(row.limits)

    def is_retired(self) -> bool:
        """See `KeyRecords.is_retired`."""
        return self._session.get(TenantDeletionRow, self._tenant_id) is not None


class SqlMemberRecords:
    """Implements `MemberRecords`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._tenant_id: str = session.info["tenant_id"]

    def find(self, member_id: str) -> Member | None:
        """See `MemberRecords.find`."""
        row = self._session.get(MemberRow, (self._tenant_id, member_id))
        return None if row is None else rows.member(row)

    def all(self) -> list[Member]:
        """See `MemberRecords.all`."""
        query = select(MemberRow).order_by(MemberRow.created_at, MemberRow.member_id)
        return [rows.member(row) for row in self._session.scalars(query)]

    def put(self, member: Member) -> None:
        """See `MemberRecords.put`."""
        self._session.merge(rows.member_row(member))
        self._session.flush()
