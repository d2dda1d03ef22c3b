"""What was measured of versions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import DIGEST_CHARS, NAME_CHARS, Base, TenantScoped

REFERENCE_CHARS = 2 * NAME_CHARS
"""`name@number`."""


class EvaluationRow(TenantScoped, Base):
    """An evaluation; gone with its version. The dataset is told in words: it may be deleted."""

    __tablename__ = "evaluations"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "model_name", "version_number"],
            ["versions.tenant_id", "versions.model_name", "versions.number"],
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(["tenant_id", "report_digest"], ["blobs.tenant_id", "blobs.digest"]),
        Index("ix_evaluations_version", "tenant_id", "model_name", "version_number"),
        Index("ix_evaluations_report_digest", "tenant_id", "report_digest"),
    )

    evaluation_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    model_name: Mapped[str] = mapped_column(String(NAME_CHARS))
    version_number: Mapped[int]
    version_digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    dataset: Mapped[str] = mapped_column(String(REFERENCE_CHARS))
    dataset_digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    split: Mapped[str] = mapped_column(String(NAME_CHARS))
    rows: Mapped[int] = mapped_column(BigInteger)
    metrics: Mapped[dict[str, Any]]
    speed: Mapped[dict[str, Any]]
    report_digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    job_id: Mapped[str] = mapped_column(String(NAME_CHARS))
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(REFERENCE_CHARS))
