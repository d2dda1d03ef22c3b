"""Datasets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
NAME = sa.String(length=64)
DIGEST = sa.String(length=71)
DOCUMENT = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True), "postgresql"
)


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("tenant_id", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", NAME, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_datasets_tenants")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "name", name=op.f("pk_datasets")),
    )
    op.create_table(
        "dataset_versions",
        sa.Column("tenant_id", NAME, nullable=False),
        sa.Column("dataset_name", NAME, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("columns", DOCUMENT, nullable=False),
        sa.Column("split_names", DOCUMENT, nullable=False),
        sa.Column("statistics", DOCUMENT, nullable=False),
        sa.Column("report", DOCUMENT, nullable=False),
        sa.Column("origin", DOCUMENT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", NAME, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "dataset_name"],
            ["datasets.tenant_id", "datasets.name"],
            name=op.f("fk_dataset_versions_datasets"),
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "dataset_name", "number", name=op.f("pk_dataset_versions")
        ),
        sa.UniqueConstraint(
            "tenant_id",
            "dataset_name",
            "digest",
            name=op.f("uq_dataset_versions_tenant_id_dataset_name_digest"),
        ),
    )
    op.create_table(
        "dataset_shards",
        sa.Column("tenant_id", NAME, nullable=False),
        sa.Column("dataset_name", NAME, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("split", NAME, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "dataset_name", "number"],
            [
                "dataset_versions.tenant_id",
                "dataset_versions.dataset_name",
                "dataset_versions.number",
            ],
            name=op.f("fk_dataset_shards_dataset_versions"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "digest"],
            ["blobs.tenant_id", "blobs.digest"],
            name=op.f("fk_dataset_shards_blobs"),
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id",
            "dataset_name",
            "number",
            "split",
            "position",
            name=op.f("pk_dataset_shards"),
        ),
    )
    op.create_index("ix_dataset_shards_digest", "dataset_shards", ["tenant_id", "digest"])
