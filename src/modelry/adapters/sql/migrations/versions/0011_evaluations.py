"""Evaluations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

NAME = sa.String(length=64)
DIGEST = sa.String(length=71)
REFERENCE = sa.String(length=128)
DOCUMENT = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True), "postgresql"
)


def upgrade() -> None:
    op.create_table(
        "evaluations",
        sa.Column("tenant_id", NAME, nullable=False),
        sa.Column("evaluation_id", NAME, nullable=False),
        sa.Column("model_name", NAME, nullable=False),
        sa.Column("version_number", sa.Integer(), nullable=False),
        sa.Column("version_digest", DIGEST, nullable=False),
        sa.Column("dataset", REFERENCE, nullable=False),
        sa.Column("dataset_digest", DIGEST, nullable=False),
        sa.Column("split", NAME, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("metrics", DOCUMENT, nullable=False),
        sa.Column("speed", DOCUMENT, nullable=False),
        sa.Column("report_digest", DIGEST, nullable=False),
        sa.Column("job_id", NAME, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", REFERENCE, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "model_name", "version_number"],
            ["versions.tenant_id", "versions.model_name", "versions.number"],
            name=op.f("fk_evaluations_versions"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "report_digest"],
            ["blobs.tenant_id", "blobs.digest"],
            name=op.f("fk_evaluations_blobs"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "evaluation_id", name=op.f("pk_evaluations")),
    )
    op.create_index(
        "ix_evaluations_version", "evaluations", ["tenant_id", "model_name", "version_number"]
    )
    op.create_index("ix_evaluations_report_digest", "evaluations", ["tenant_id", "report_digest"])
