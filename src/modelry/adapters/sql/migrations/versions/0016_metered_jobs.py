"""What attempts at jobs used, and whether it is in the ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("engine_us", "cpu_us"):
        column = sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
        op.add_column("job_attempts", column)
    # what ended before this was counted used nothing that is known: there is nothing to add
    op.add_column(
        "job_attempts",
        sa.Column("is_metered", sa.Boolean(), nullable=False, server_default=sa.true()),
    )
    op.create_index("ix_job_attempts_metered", "job_attempts", ["is_metered", "ended_at"])
