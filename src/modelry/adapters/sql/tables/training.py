"""Where versions come from."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKeyConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from modelry.adapters.sql.tables.base import DIGEST_CHARS, NAME_CHARS, Base, TenantScoped


class LineageRow(TenantScoped, Base):
    """How a version was trained; goes with it."""

    __tablename__ = "lineages"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "model_name", "number"],
            ["versions.tenant_id", "versions.model_name", "versions.number"],
            ondelete="CASCADE",
        ),
    )

    model_name: Mapped[str] = mapped_column(String(NAME_CHARS), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    job_id: Mapped[str] = mapped_column(String(NAME_CHARS))
    recipe: Mapped[str] = mapped_column(String(NAME_CHARS))
    dataset: Mapped[str] = mapped_column(String(2 * NAME_CHARS))
    dataset_digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    weights_digest: Mapped[str] = mapped_column(String(DIGEST_CHARS))
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(NAME_CHARS))
    details: Mapped[dict[str, Any]]
