"""Jobs, who works on them, and what they told."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, String, Text, true
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import DIGEST_CHARS, NAME_CHARS, Base, TenantScoped

ARTEFACT_NAME_CHARS = 200


def _of_job() -> ForeignKeyConstraint:
    """What belongs to a job goes with it."""
    return ForeignKeyConstraint(
        ["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.job_id"], ondelete="CASCADE"
    )


class JobRow(TenantScoped, Base):
    """A job; all that it told is in tables of its own."""

    __tablename__ = "jobs"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        Index("ix_jobs_submitted_at", "tenant_id", "submitted_at", "job_id"),
        Index("ix_jobs_state", "state", "tenant_id"),
    )

    job_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    kind: Mapped[str] = mapped_column(String(NAME_CHARS))
    name: Mapped[str] = mapped_column(String(200))
    parameters: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(NAME_CHARS))
    priority: Mapped[int]
    retries: Mapped[int]
    not_before: Mapped[datetime | None]
    submitted_at: Mapped[datetime]
    submitted_by: Mapped[str] = mapped_column(String(200))
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    attempts: Mapped[int]
    failures: Mapped[int]
    losses: Mapped[int]
    request: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    progress: Mapped[dict[str, Any] | None]
    outcome: Mapped[dict[str, Any] | None]
    error_code: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    error_message: Mapped[str | None] = mapped_column(Text)
    last_sequence: Mapped[int]


class JobDependencyRow(TenantScoped, Base):
    """A job that must succeed before another begins."""

    __tablename__ = "job_dependencies"
    __table_args__ = (
        _of_job(),
        ForeignKeyConstraint(
            ["tenant_id", "after_id"],
            ["jobs.tenant_id", "jobs.job_id"],
            name="fk_job_dependencies_after",
        ),
        Index("ix_job_dependencies_after_id", "tenant_id", "after_id"),
    )

    job_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    after_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    position: Mapped[int]


class JobLeaseRow(TenantScoped, Base):
    """The right to work on a job; a table of its own, so that renewing it touches no job."""

    __tablename__ = "job_leases"
    __table_args__ = (_of_job(), Index("ix_job_leases_server_id", "server_id"))

    job_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    token: Mapped[int]
    server_id: Mapped[str] = mapped_column(String(NAME_CHARS))
    expires_at: Mapped[datetime]


class JobAttemptRow(TenantScoped, Base):
    """One attempt at a job."""

    __tablename__ = "job_attempts"
    __table_args__ = (
        _of_job(),
        Index("ix_job_attempts_started_at", "tenant_id", "started_at"),
        Index("ix_job_attempts_metered", "is_metered", "ended_at"),
    )

    job_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    server_id: Mapped[str] = mapped_column(String(NAME_CHARS))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    error_code: Mapped[str | None] = mapped_column(String(NAME_CHARS))
    error_message: Mapped[str | None] = mapped_column(Text)
    engine_us: Mapped[int] = mapped_column(BigInteger, server_default="0")
    cpu_us: Mapped[int] = mapped_column(BigInteger, server_default="0")
    is_metered: Mapped[bool] = mapped_column(server_default=true())


class JobEventRow(TenantScoped, Base):
    """What a job told at one time, lines and points in batches, or what happened to it."""

    __tablename__ = "job_events"
    __table_args__ = (_of_job(),)

    job_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    attempt: Mapped[int]
    kind: Mapped[str] = mapped_column(String(NAME_CHARS))
    data: Mapped[dict[str, Any]]


class JobCheckpointRow(TenantScoped, Base):
    """The content from which another attempt goes on."""

    __tablename__ = "job_checkpoints"
    __table_args__ = (
        _of_job(),
        ForeignKeyConstraint(["tenant_id", "digest"], ["blobs.tenant_id", "blobs.digest"]),
        Index("ix_job_checkpoints_digest", "tenant_id", "digest"),
    )

    job_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    attempt: Mapped[int]
    at: Mapped[datetime]


class JobArtefactRow(TenantScoped, Base):
    """A content that is kept with a job."""

    __tablename__ = "job_artefacts"
    __table_args__ = (
        _of_job(),
        ForeignKeyConstraint(["tenant_id", "digest"], ["blobs.tenant_id", "blobs.digest"]),
        Index("ix_job_artefacts_digest", "tenant_id", "digest"),
    )

    job_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    name: Mapped[str] = mapped_column(String(ARTEFACT_NAME_CHARS), primary_key=True)
    digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
