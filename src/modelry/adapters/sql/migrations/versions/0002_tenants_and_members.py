"""Tenant states, members, scopes and rotation of keys, shared deployments, deleted tenants."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
DOCUMENT = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True), "postgresql"
)


def upgrade() -> None:
    with op.batch_alter_table("tenants") as tenants:
        tenants.add_column(
            sa.Column("state", sa.String(length=16), nullable=False, server_default="active")
        )
        tenants.add_column(sa.Column("changed_at", MOMENT, nullable=True))
    with op.batch_alter_table("api_keys") as keys:
        keys.add_column(sa.Column("scopes", DOCUMENT, nullable=True))
        keys.add_column(sa.Column("last_used_at", MOMENT, nullable=True))
        keys.add_column(sa.Column("previous_hmac", sa.LargeBinary(length=32), nullable=True))
        keys.add_column(sa.Column("previous_until", MOMENT, nullable=True))
        keys.create_unique_constraint(op.f("uq_api_keys_previous_hmac"), ["previous_hmac"])
    op.create_table(
        "tenant_deletions",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("deletion_id", sa.String(length=64), nullable=False),
        sa.Column("requested_at", MOMENT, nullable=False),
        sa.Column("requested_by", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("stage_at", MOMENT, nullable=False),
        sa.Column("destroyed", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenant_deletions")),
    )
    op.create_table(
        "members",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("issuer", sa.String(length=512), nullable=True),
        sa.Column("subject", sa.String(length=255), nullable=True),
        sa.Column("disabled_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_members_tenants")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "member_id", name=op.f("pk_members")),
        sa.UniqueConstraint(
            "tenant_id", "issuer", "subject", name=op.f("uq_members_tenant_id_issuer_subject")
        ),
    )
    op.create_table(
        "deployment_grants",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("grant_id", sa.String(length=64), nullable=False),
        sa.Column("deployment_name", sa.String(length=64), nullable=False),
        sa.Column("grantee_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "deployment_name"],
            ["deployments.tenant_id", "deployments.name"],
            name=op.f("fk_deployment_grants_deployments"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "grant_id", name=op.f("pk_deployment_grants")),
    )
    op.create_index("ix_deployment_grants_grantee", "deployment_grants", ["grantee_id"])
