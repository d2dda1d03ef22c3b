"""Every table. `tenant_id` leads the primary key of each and is part of each foreign key, so
that no row can ever refer to another tenant's.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from modelry.adapters.sql.columns import JSON_DOCUMENT, UtcDateTime

DIGEST_CHARS = 71
NAME_CHARS = 64


class Base(DeclarativeBase):
    """Base of all rows; constraints have names, so that migrations can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, TypeEngine[Any]]] = {
        datetime: UtcDateTime(),
        dict[str, Any]: JSON_DOCUMENT,
        list[Any]: JSON_DOCUMENT,
    }


class ServerSettingRow(Base):
    """A fact about the whole server; belongs to no tenant."""

    __tablename__ = "server_settings"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class TenantScoped:
    """Mixin of every row that a tenant owns; the session factory filters by it."""

    tenant_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True, sort_order=-10)


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


class DeploymentRow(TenantScoped, Base):
    """A deployment's desired state."""

    __tablename__ = "deployments"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "model_name"], ["models.tenant_id", "models.name"]),
    )

    name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    model_name: Mapped[str] = mapped_column(String(NAME_CHARS))
    scale: Mapped[dict[str, Any]]
    limits: Mapped[dict[str, Any]]
    engine_options: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class TrafficShareRow(TenantScoped, Base):
    """A deployment's share for one version: a row, not JSON, so that the database itself keeps
    a version that is served from being deleted.
    """

    __tablename__ = "traffic_shares"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "deployment_name"],
            ["deployments.tenant_id", "deployments.name"],
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(
            ["tenant_id", "model_name", "version_number"],
            ["versions.tenant_id", "versions.model_name", "versions.number"],
        ),
        Index("ix_traffic_shares_version", "tenant_id", "model_name", "version_number"),
    )

    deployment_name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    model_name: Mapped[str] = mapped_column(String(NAME_CHARS))
    version_number: Mapped[int]
    percent: Mapped[float]


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
