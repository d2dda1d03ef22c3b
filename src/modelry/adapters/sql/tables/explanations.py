"""What versions decide by, over rows of datasets."""

from __future__ import annotations

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.assessments import AssessmentRow, content, of_a_version
from modelry.adapters.sql.tables.base import DIGEST_CHARS, NAME_CHARS, Base


class ExplanationRow(AssessmentRow, Base):
    """Explanations of a split."""

    __tablename__ = "dataset_explanations"
    __table_args__ = (
        of_a_version(),
        content("report_digest", "fk_dataset_explanations_report"),
        content("rows_digest", "fk_dataset_explanations_rows"),
        Index("ix_dataset_explanations_version", "tenant_id", "model_name", "version_number"),
        Index("ix_dataset_explanations_report_digest", "tenant_id", "report_digest"),
        Index("ix_dataset_explanations_rows_digest", "tenant_id", "rows_digest"),
    )

    explanation_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    task: Mapped[str] = mapped_column(String(NAME_CHARS))
    method: Mapped[str] = mapped_column(String(NAME_CHARS))
    sentence: Mapped[str] = mapped_column(Text)
    rows_digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
