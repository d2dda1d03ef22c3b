"""The audit trail: entries, and where each chain ends."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import NAME_CHARS, Base, TenantScoped

MAC_BYTES = 32


class AuditEntryRow(TenantScoped, Base):
    """One act. `detail` is canonical JSON as text: its very bytes are under the MAC."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        Index("ix_audit_entries_at", "tenant_id", "at"),
    )

    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(100))
    resource: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(String(NAME_CHARS))
    detail: Mapped[str] = mapped_column(Text)
    previous_mac: Mapped[bytes] = mapped_column(LargeBinary(MAC_BYTES))
    mac: Mapped[bytes] = mapped_column(LargeBinary(MAC_BYTES))


class AuditHeadRow(TenantScoped, Base):
    """Where a tenant's chain ends, and what stands for the entries that were swept."""

    __tablename__ = "audit_heads"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),)

    sequence: Mapped[int] = mapped_column(BigInteger)
    mac: Mapped[bytes] = mapped_column(LargeBinary(MAC_BYTES))
    anchor_sequence: Mapped[int] = mapped_column(BigInteger)
    anchor_mac: Mapped[bytes] = mapped_column(LargeBinary(MAC_BYTES))
    anchor_proof: Mapped[bytes] = mapped_column(LargeBinary(MAC_BYTES))
