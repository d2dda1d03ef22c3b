"""What versions decide by, over rows of datasets."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import DIGEST_CHARS, NAME_CHARS, Base, TenantScoped
from modelry.adapters.sql.tables.evaluation import REFERENCE_CHARS


class ExplanationRow(TenantScoped, Base):
    """Explanations of a split; gone with the version, and told by the dataset's name alone."""

    __tablename__ = "dataset_explanations"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "model_name", "version_number"],
            ["versions.tenant_id", "versions.model_name", "versions.number"],
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(
            ["tenant_id", "report_digest"],
            ["blobs.tenant_id", "blobs.digest"],
            name="fk_dataset_explanations_report",
        ),
        ForeignKeyConstraint(
            ["tenant_id", "rows_digest"],
            ["blobs.tenant_id", "blobs.digest"],
            name="fk_dataset_explanations_rows",
        ),
        Index("ix_dataset_explanations_version", "tenant_id", "model_name", "version_number"),
        Index("ix_dataset_explanations_report_digest", "tenant_id", "report_digest"),
        Index("ix_dataset_explanations_rows_digest", "tenant_id", "rows_digest"),
    )

    explanation_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    model_name: Mapped[str] = mapped_column(String(NAME_CHARS))
    version_number: Mapped[int]
    version_digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    task: Mapped[str] = mapped_column(String(NAME_CHARS))
    dataset: Mapped[str] = mapped_column(String(REFERENCE_CHARS))
    dataset_digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    split: Mapped[str] = mapped_column(String(NAME_CHARS))
    rows: Mapped[int] = mapped_column(BigInteger)
    method: Mapped[str] = mapped_column(String(NAME_CHARS))
    sentence: Mapped[str] = mapped_column(Text)
    report_digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    rows_digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    job_id: Mapped[str] = mapped_column(String(NAME_CHARS))
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(REFERENCE_CHARS))
