"""Files under ids."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

NAME = sa.String(length=64)
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "files",
        sa.Column("tenant_id", NAME, nullable=False),
        sa.Column("file_id", NAME, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("purpose", NAME, nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "digest"],
            ["blobs.tenant_id", "blobs.digest"],
            name=op.f("fk_files_blobs"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "file_id", name=op.f("pk_files")),
    )
    op.create_index("ix_files_created_at", "files", ["tenant_id", "created_at", "file_id"])
    op.create_index("ix_files_digest", "files", ["tenant_id", "digest"])
