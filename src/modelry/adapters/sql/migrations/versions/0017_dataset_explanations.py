"""Explanations of the rows of datasets."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

NAME = sa.String(length=64)
DIGEST = sa.String(length=71)
REFERENCE = sa.String(length=128)
TABLE = "dataset_explanations"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("tenant_id", NAME, nullable=False),
        sa.Column("explanation_id", NAME, nullable=False),
        sa.Column("model_name", NAME, nullable=False),
        sa.Column("version_number", sa.Integer(), nullable=False),
        sa.Column("version_digest", DIGEST, nullable=False),
        sa.Column("task", NAME, nullable=False),
        sa.Column("dataset", REFERENCE, nullable=False),
        sa.Column("dataset_digest", DIGEST, nullable=False),
        sa.Column("split", NAME, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("method", NAME, nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("report_digest", DIGEST, nullable=False),
        sa.Column("rows_digest", DIGEST, nullable=False),
        sa.Column("job_id", NAME, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", REFERENCE, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "model_name", "version_number"],
            ["versions.tenant_id", "versions.model_name", "versions.number"],
            name=op.f("fk_dataset_explanations_versions"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "report_digest"],
            ["blobs.tenant_id", "blobs.digest"],
            name="fk_dataset_explanations_report",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "rows_digest"],
            ["blobs.tenant_id", "blobs.digest"],
            name="fk_dataset_explanations_rows",
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "explanation_id", name=op.f("pk_dataset_explanations")
        ),
    )
    op.create_index(
        "ix_dataset_explanations_version", TABLE, ["tenant_id", "model_name", "version_number"]
    )
    for column in ("report_digest", "rows_digest"):
        op.create_index(f"ix_dataset_explanations_{column}", TABLE, ["tenant_id", column])
