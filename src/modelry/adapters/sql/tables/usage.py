"""What was used."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKeyConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import NAME_CHARS, Base, TenantScoped


class UsageRow(TenantScoped, Base):
    """The amount of one unit that one key used of one version in one minute.

    A row per minute and not per request: the table grows with time, not with load. Key,
    deployment and version are words here, not references: usage outlives them.
    """

    __tablename__ = "usage_totals"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),)

    minute: Mapped[datetime] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    deployment: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    version_number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    task: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    status: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    unit: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    amount: Mapped[int] = mapped_column(BigInteger)
