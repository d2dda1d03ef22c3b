"""What was used."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import NAME_CHARS, Base, TenantScoped

SHARED_NAME_CHARS = 2 * NAME_CHARS + 1
"""A deployment as another tenant calls it: `<deployment>@<owner>`."""


class UsageRow(TenantScoped, Base):
    """The amount of one unit that one key used of one version in one minute.

    A row per minute and not per request: the table grows with time, not with load. Minutes count
    from 1970, so that hours and days are quotients on every database. Key, deployment and version
    are words here, not references: usage outlives them. `caller` is the tenant that called a
    deployment shared with it; empty for the tenant's own use.
    """

    __tablename__ = "usage_minutes"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),)

    minute: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    caller: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(SHARED_NAME_CHARS), primary_key=True)
    deployment: Mapped[str] = mapped_column(String(SHARED_NAME_CHARS), primary_key=True)
    model: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    version_number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    task: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    status: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    unit: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    amount: Mapped[int] = mapped_column(BigInteger)


class UsageSegmentRow(TenantScoped, Base):
    """The records of one flush, as compressed columns; its key makes adding it again harmless."""

    __tablename__ = "usage_segments"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        Index("ix_usage_segments_time", "tenant_id", "last_at", "first_at"),
    )

    run_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    records: Mapped[int]
    data: Mapped[bytes] = mapped_column(LargeBinary)
    other_ids: Mapped[bytes | None] = mapped_column(LargeBinary)


class PriceRow(TenantScoped, Base):
    """A price; all belong to the home tenant, which runs the platform.

    `amount` is decimal text: no database rounds it.
    """

    __tablename__ = "prices"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),)

    price_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    unit: Mapped[str] = mapped_column(String(NAME_CHARS))
    amount: Mapped[str] = mapped_column(String(NAME_CHARS))
    per: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(SHARED_NAME_CHARS))
    for_tenant: Mapped[str] = mapped_column(String(SHARED_NAME_CHARS))
    for_deployment: Mapped[str] = mapped_column(String(SHARED_NAME_CHARS))
    for_model: Mapped[str] = mapped_column(String(SHARED_NAME_CHARS))
    for_task: Mapped[str] = mapped_column(String(SHARED_NAME_CHARS))
