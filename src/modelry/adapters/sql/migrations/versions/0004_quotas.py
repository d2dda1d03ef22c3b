"""Limits of tenants and keys, what was used of them, and what gateways have open."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
DOCUMENT = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True), "postgresql"
)


def upgrade() -> None:
    op.create_table(
        "quota_limits",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=72), nullable=False),
        sa.Column("limits", DOCUMENT, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.Column("changed_by", sa.String(length=72), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_quota_limits_tenants")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "key_id", name=op.f("pk_quota_limits")),
    )
    op.create_table(
        "quota_use",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=72), nullable=False),
        sa.Column("unit", sa.String(length=32), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("amount", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_quota_use_tenants")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "key_id", "unit", "day", name=op.f("pk_quota_use")),
    )
    op.create_index("ix_quota_use_day", "quota_use", ["day"])
    op.create_table(
        "quota_open",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=72), nullable=False),
        sa.Column("gateway_id", sa.String(length=24), nullable=False),
        sa.Column("open", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_quota_open_tenants")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "key_id", "gateway_id", name=op.f("pk_quota_open")),
    )
    op.create_table(
        "quota_gateways",
        sa.Column("gateway_id", sa.String(length=24), nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("gateway_id", name=op.f("pk_quota_gateways")),
    )
