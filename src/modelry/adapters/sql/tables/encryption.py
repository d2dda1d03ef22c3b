"""Data keys, wrapped."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKeyConstraint, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import NAME_CHARS, Base, TenantScoped


class DataKeyRow(TenantScoped, Base):
    """A tenant's data key; `wrapped` is NULL once it was destroyed."""

    __tablename__ = "data_keys"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),)

    key_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(16))
    kek_id: Mapped[str] = mapped_column(String(2048))
    wrapped: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    wrapped_at: Mapped[datetime]
    destroyed_at: Mapped[datetime | None]
