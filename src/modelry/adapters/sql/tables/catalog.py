"""Models, their versions, aliases, files and uploads."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import DIGEST_CHARS, NAME_CHARS, Base, TenantScoped


class ModelRow(TenantScoped, Base):
    """A model; `last_number` only grows, so a deleted version's number never comes back."""

    __tablename__ = "models"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),)

    name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    task: Mapped[str] = mapped_column(String(NAME_CHARS))
    last_number: Mapped[int]
    created_at: Mapped[datetime]


class VersionRow(TenantScoped, Base):
    """An immutable version."""

    __tablename__ = "versions"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "model_name"], ["models.tenant_id", "models.name"]),
        UniqueConstraint("tenant_id", "model_name", "digest"),
    )

    model_name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    task: Mapped[str] = mapped_column(String(NAME_CHARS))
    runtime: Mapped[str] = mapped_column(String(NAME_CHARS))
    manifest: Mapped[dict[str, Any]]
    signature: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(NAME_CHARS))
    source: Mapped[str] = mapped_column(Text)


class BlobRow(TenantScoped, Base):
    """Says that the tenant has the content with this digest."""

    __tablename__ = "blobs"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),)

    digest: Mapped[str] = mapped_column(String(DIGEST_CHARS), primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    damaged_at: Mapped[datetime | None]


class VersionFileRow(TenantScoped, Base):
    """One file of a version."""

    __tablename__ = "version_files"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "model_name", "number"],
            ["versions.tenant_id", "versions.model_name", "versions.number"],
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(["tenant_id", "digest"], ["blobs.tenant_id", "blobs.digest"]),
        Index("ix_version_files_digest", "tenant_id", "digest"),
    )

    model_name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    role: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    size_bytes: Mapped[int] = mapped_column(BigInteger)


class AliasRow(TenantScoped, Base):
    """Where an alias points now."""

    __tablename__ = "aliases"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "model_name", "version_number"],
            ["versions.tenant_id", "versions.model_name", "versions.number"],
        ),
    )

    model_name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    version_number: Mapped[int]
    moved_at: Mapped[datetime]


class AliasMoveRow(TenantScoped, Base):
    """One move of an alias; kept when the versions it names are gone, until the model is."""

    __tablename__ = "alias_moves"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "model_name"], ["models.tenant_id", "models.name"], ondelete="CASCADE"
        ),
    )

    model_name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(NAME_CHARS))
    previous_number: Mapped[int | None]
    version_number: Mapped[int | None]
    moved_at: Mapped[datetime]
    moved_by: Mapped[str] = mapped_column(String(NAME_CHARS))
    reason: Mapped[str] = mapped_column(Text)


class UploadRow(TenantScoped, Base):
    """An upload; its bytes so far are with the blob store, which alone knows how many."""

    __tablename__ = "uploads"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),)

    upload_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    promised_digest: Mapped[str | None] = mapped_column(String(DIGEST_CHARS))
    digest: Mapped[str | None] = mapped_column(String(DIGEST_CHARS))
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(NAME_CHARS))
