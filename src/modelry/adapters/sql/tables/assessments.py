"""What jobs found of versions on splits of datasets; each kind has a table."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKeyConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import DIGEST_CHARS, NAME_CHARS, TenantScoped

REFERENCE_CHARS = 2 * NAME_CHARS
"""`name@number`."""


class AssessmentRow(TenantScoped):
    """What all of them have. The dataset is told in words: it may be deleted."""

    model_name: Mapped[str] = mapped_column(String(NAME_CHARS))
    version_number: Mapped[int]
    version_digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    dataset: Mapped[str] = mapped_column(String(REFERENCE_CHARS))
    dataset_digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    split: Mapped[str] = mapped_column(String(NAME_CHARS))
    rows: Mapped[int] = mapped_column(BigInteger)
    report_digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    job_id: Mapped[str] = mapped_column(String(NAME_CHARS))
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(REFERENCE_CHARS))


def of_a_version() -> ForeignKeyConstraint:
    """It goes with the version that it is of."""
    return ForeignKeyConstraint(
        ["tenant_id", "model_name", "version_number"],
        ["versions.tenant_id", "versions.model_name", "versions.number"],
        ondelete="CASCADE",
    )


def content(column: str, name: str | None = None) -> ForeignKeyConstraint:
    """A column that has the digest of a content, which is kept as long as it is there."""
    referred = ["blobs.tenant_id", "blobs.digest"]
    return ForeignKeyConstraint(["tenant_id", column], referred, name=name)
