"""What is kept of requests, and how long what is kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKeyConstraint, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import NAME_CHARS, Base, TenantScoped


class LoggingRuleRow(TenantScoped, Base):
    """What is kept of a deployment's requests; gone with the deployment, so that another one of
    the same name is not recorded by it.
    """

    __tablename__ = "logging_rules"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "deployment"],
            ["deployments.tenant_id", "deployments.name"],
            ondelete="CASCADE",
        ),
    )

    deployment: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    sample_rate: Mapped[float]
    retention_days: Mapped[int]
    keep_input: Mapped[bool]
    keep_output: Mapped[bool]
    redact: Mapped[bool]
    max_bytes: Mapped[int]
    attachments: Mapped[bool]
    tensor_values: Mapped[bool]
    max_requests: Mapped[int]
    changed_at: Mapped[datetime]
    changed_by: Mapped[str] = mapped_column(String(NAME_CHARS))


class RequestLogRow(TenantScoped, Base):
    """One kept call; what was said in it is sealed under the tenant's key."""

    __tablename__ = "request_logs"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        Index("ix_request_logs_request_id", "tenant_id", "request_id"),
        Index("ix_request_logs_expires_at", "tenant_id", "expires_at"),
        Index("ix_request_logs_deployment", "tenant_id", "deployment", "log_id"),
    )

    log_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    request_id: Mapped[str] = mapped_column(String(200))
    at: Mapped[datetime]
    expires_at: Mapped[datetime]
    deployment: Mapped[str] = mapped_column(String(NAME_CHARS))
    version_number: Mapped[int]
    key_id: Mapped[str] = mapped_column(String(200))
    task: Mapped[str] = mapped_column(String(NAME_CHARS))
    status: Mapped[str] = mapped_column(String(NAME_CHARS))
    duration_s: Mapped[float]
    redacted: Mapped[dict[str, Any]]
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class RetentionRow(TenantScoped, Base):
    """How many days a tenant keeps one class of data."""

    __tablename__ = "retention"
    __table_args__ = (ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),)

    what: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    days: Mapped[int]
    changed_at: Mapped[datetime]
    changed_by: Mapped[str] = mapped_column(String(NAME_CHARS))
