"""How much may be used, and what the gateways tell each other about it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import Date, Double, ForeignKeyConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import NAME_CHARS, Base, TenantScoped

GATEWAY_CHARS = 24


class QuotaLimitsRow(TenantScoped, Base):
    """The limits of a key or, where `key_id` is empty, of the tenant.

    `key_id` is no reference: people who signed in have one, too, and no row among the keys.
    """

    __tablename__ = "quota_limits"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),)

    key_id: Mapped[str] = mapped_column(String(NAME_CHARS + 8), primary_key=True)
    limits: Mapped[dict[str, Any]]
    changed_at: Mapped[datetime]
    changed_by: Mapped[str] = mapped_column(String(NAME_CHARS + 8))


class QuotaUseRow(TenantScoped, Base):
    """What all gateways together used of a unit that is limited, on one day of UTC."""

    __tablename__ = "quota_use"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        Index("ix_quota_use_day", "day"),
    )

    key_id: Mapped[str] = mapped_column(String(NAME_CHARS + 8), primary_key=True)
    unit: Mapped[str] = mapped_column(String(32), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    amount: Mapped[float] = mapped_column(Double)


class QuotaOpenRow(TenantScoped, Base):
    """How many requests one gateway has open for a key or tenant whose number is limited."""

    __tablename__ = "quota_open"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),)

    key_id: Mapped[str] = mapped_column(String(NAME_CHARS + 8), primary_key=True)
    gateway_id: Mapped[str] = mapped_column(String(GATEWAY_CHARS), primary_key=True)
    open: Mapped[int]


class GatewayRow(Base):
    """A gateway that lives; belongs to no tenant."""

    __tablename__ = "quota_gateways"

    gateway_id: Mapped[str] = mapped_column(String(GATEWAY_CHARS), primary_key=True)
    seen_at: Mapped[datetime]
