"""What is to be served."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKeyConstraint, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import NAME_CHARS, Base, TenantScoped


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


class DeploymentGrantRow(TenantScoped, Base):
    """Lets another tenant call a deployment; gone with the deployment, so that another one of
    the same name is not shared by it.
    """

    __tablename__ = "deployment_grants"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "deployment_name"],
            ["deployments.tenant_id", "deployments.name"],
            ondelete="CASCADE",
        ),
        Index("ix_deployment_grants_grantee", "grantee_id"),
    )

    grant_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    deployment_name: Mapped[str] = mapped_column(String(NAME_CHARS))
    grantee_id: Mapped[str] = mapped_column(String(NAME_CHARS))
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(NAME_CHARS))
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    note: Mapped[str] = mapped_column(Text)


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
