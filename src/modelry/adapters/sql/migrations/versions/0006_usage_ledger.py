"""Usage by minute with model and caller, and the records of single requests in segments."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)

_FROM_SQLITE = """
INSERT INTO usage_minutes (tenant_id, minute, caller, key_id, deployment, model, version_number,
                           task, status, unit, amount)
SELECT tenant_id, CAST(strftime('%s', minute) AS INTEGER) / 60, '', key_id, deployment, '',
       version_number, task, status, unit, amount FROM usage_totals
"""
_FROM_POSTGRESQL = """
INSERT INTO usage_minutes (tenant_id, minute, caller, key_id, deployment, model, version_number,
                           task, status, unit, amount)
SELECT tenant_id, CAST(floor(extract(epoch FROM minute) / 60) AS INTEGER), '', key_id, deployment,
       '', version_number, task, status, unit, amount FROM usage_totals
"""


def upgrade() -> None:
    op.create_table(
        "usage_minutes",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("minute", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("caller", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=129), nullable=False),
        sa.Column("deployment", sa.String(length=129), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("version_number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=64), nullable=False),
        sa.Column("unit", sa.String(length=64), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_usage_minutes_tenants")
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id",
            "minute",
            "caller",
            "key_id",
            "deployment",
            "model",
            "version_number",
            "task",
            "status",
            "unit",
            name=op.f("pk_usage_minutes"),
        ),
    )
    op.create_table(
        "usage_segments",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_at", MOMENT, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("other_ids", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_usage_segments_tenants")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "sequence", name=op.f("pk_usage_segments")),
    )
    op.create_index(
        "ix_usage_segments_time", "usage_segments", ["tenant_id", "last_at", "first_at"]
    )
    _move_totals()
    op.drop_table("usage_totals")


def _move_totals() -> None:
    """Bring what was counted before over; which model it was is not known of it."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    op.execute(_FROM_SQLITE if is_sqlite else _FROM_POSTGRESQL)
