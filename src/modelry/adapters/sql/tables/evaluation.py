"""What was measured of versions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.assessments import AssessmentRow, content, of_a_version
from modelry.adapters.sql.tables.base import NAME_CHARS, Base


class EvaluationRow(AssessmentRow, Base):
    """An evaluation."""

    __tablename__ = "evaluations"
    __table_args__ = (
        of_a_version(),
        content("report_digest"),
        Index("ix_evaluations_version", "tenant_id", "model_name", "version_number"),
        Index("ix_evaluations_report_digest", "tenant_id", "report_digest"),
    )

    evaluation_id: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    metrics: Mapped[dict[str, Any]]
    speed: Mapped[dict[str, Any]]
