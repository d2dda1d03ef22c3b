"""Who exists: tenants, their keys and members, and the tenants that are no more."""

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
    state: Mapped[str] = mapped_column(String(16), server_default="active")
    changed_at: Mapped[datetime | None]


class TenantDeletionRow(Base):
    """A tenant that is being deleted, or was.

    Belongs to no tenant: it outlives its own, so that the id is never given out again.
    """

    __tablename__ = "tenant_deletions"

    tenant_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    deletion_id: Mapped[str] = mapped_column(String(NAME_CHARS))
    requested_at: Mapped[datetime]
    requested_by: Mapped[str] = mapped_column(String(NAME_CHARS))
    stage: Mapped[str] = mapped_column(String(16))
    stage_at: Mapped[datetime]
    destroyed: Mapped[dict[str, Any]]


class MemberRow(TenantScoped, Base):
    """A person with a role in the tenant."""

    __tablename__ = "members"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        UniqueConstraint("tenant_id", "issuer", "subject"),
    )

    member_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    role: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(NAME_CHARS))
    email: Mapped[str | None] = mapped_column(String(254))
    name: Mapped[str] = mapped_column(String(200))
    issuer: Mapped[str | None] = mapped_column(String(512))
    subject: Mapped[str | None] = mapped_column(String(255))
    disabled_at: Mapped[datetime | None]


class ApiKeyRow(TenantScoped, Base):
    """An API key: its keyed hash, never the secret."""

    __tablename__ = "api_keys"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        UniqueConstraint("secret_hmac"),
        UniqueConstraint("previous_hmac"),
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
    scopes: Mapped[list[Any] | None]
    last_used_at: Mapped[datetime | None]
    previous_hmac: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    previous_until: Mapped[datetime | None]
