"""Files that tenants keep under an id."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import DIGEST_CHARS, NAME_CHARS, Base, TenantScoped

FILE_NAME_CHARS = 255


class FileRow(TenantScoped, Base):
    """A file; its content stays as long as the row does."""

    __tablename__ = "files"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "digest"], ["blobs.tenant_id", "blobs.digest"]),
        Index("ix_files_created_at", "tenant_id", "created_at", "file_id"),
        Index("ix_files_digest", "tenant_id", "digest"),
    )

    file_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    name: Mapped[str] = mapped_column(String(FILE_NAME_CHARS))
    purpose: Mapped[str] = mapped_column(String(NAME_CHARS))
    digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(200))
    expires_at: Mapped[datetime | None]
