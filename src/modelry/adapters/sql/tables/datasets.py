"""Datasets, their versions and the shards that hold their rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import DIGEST_CHARS, NAME_CHARS, Base, TenantScoped


class DatasetRow(TenantScoped, Base):
    """A dataset; `last_number` only grows, so a deleted version's number never comes back."""

    __tablename__ = "datasets"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),)

    name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    last_number: Mapped[int]
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(NAME_CHARS))


class DatasetVersionRow(TenantScoped, Base):
    """An immutable version; `split_names` tells their order, and those that have no rows."""

    __tablename__ = "dataset_versions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "dataset_name"], ["datasets.tenant_id", "datasets.name"]
        ),
        UniqueConstraint("tenant_id", "dataset_name", "digest"),
    )

    dataset_name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    columns: Mapped[list[Any]]
    split_names: Mapped[list[Any]]
    statistics: Mapped[dict[str, Any]]
    report: Mapped[dict[str, Any]]
    origin: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(NAME_CHARS))


class DatasetShardRow(TenantScoped, Base):
    """A shard's place in a version."""

    __tablename__ = "dataset_shards"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "dataset_name", "number"],
            [
                "dataset_versions.tenant_id",
                "dataset_versions.dataset_name",
                "dataset_versions.number",
            ],
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(["tenant_id", "digest"], ["blobs.tenant_id", "blobs.digest"]),
        Index("ix_dataset_shards_digest", "tenant_id", "digest"),
    )

    dataset_name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    split: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    rows: Mapped[int] = mapped_column(BigInteger)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
