"""Who exists: tenants and their keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKeyConstraint, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import NAME_CHARS, Base, TenantScoped


class ServerSettingRow(Base):
    """A fact about the whole server; belongs to no tenant."""

    __tablename__ = "server_settings"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class TenantRow(TenantScoped, Base):
    """A tenant; what it owns hangs on this row."""

    __tablename__ = "tenants"

    name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]


class ApiKeyRow(TenantScoped, Base):
    """An API key: its keyed hash, never the secret."""

    __tablename__ = "api_keys"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        UniqueConstraint("secret_hmac"),
    )

    key_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(32))
    secret_hmac: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(NAME_CHARS))
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    deployments: Mapped[list[Any]]
