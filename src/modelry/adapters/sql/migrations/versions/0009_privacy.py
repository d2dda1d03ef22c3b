"""Request logs and retention."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
NAME = sa.String(length=64)
DOCUMENT = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True), "postgresql"
)


def upgrade() -> None:
    op.create_table(
        "logging_rules",
        sa.Column("tenant_id", NAME, nullable=False),
        sa.Column("deployment", NAME, nullable=False),
        sa.Column("sample_rate", sa.Double(), nullable=False),
        sa.Column("retention_days", sa.Integer(), nullable=False),
        sa.Column("keep_input", sa.Boolean(), nullable=False),
        sa.Column("keep_output", sa.Boolean(), nullable=False),
        sa.Column("redact", sa.Boolean(), nullable=False),
        sa.Column("max_bytes", sa.Integer(), nullable=False),
        sa.Column("attachments", sa.Boolean(), nullable=False),
        sa.Column("tensor_values", sa.Boolean(), nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.Column("changed_by", NAME, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "deployment"],
            ["deployments.tenant_id", "deployments.name"],
            name=op.f("fk_logging_rules_deployments"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "deployment", name=op.f("pk_logging_rules")),
    )
    op.create_table(
        "request_logs",
        sa.Column("tenant_id", NAME, nullable=False),
        sa.Column("log_id", NAME, nullable=False),
        sa.Column("request_id", sa.String(length=200), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("deployment", NAME, nullable=False),
        sa.Column("version_number", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.String(length=200), nullable=False),
        sa.Column("task", NAME, nullable=False),
        sa.Column("status", NAME, nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("redacted", DOCUMENT, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_request_logs_tenants")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "log_id", name=op.f("pk_request_logs")),
    )
    op.create_index("ix_request_logs_request_id", "request_logs", ["tenant_id", "request_id"])
    op.create_index("ix_request_logs_expires_at", "request_logs", ["tenant_id", "expires_at"])
    op.create_table(
        "retention",
        sa.Column("tenant_id", NAME, nullable=False),
        sa.Column("what", NAME, nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.Column("changed_by", NAME, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_retention_tenants")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "what", name=op.f("pk_retention")),
    )
