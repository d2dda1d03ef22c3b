"""How many requests of a deployment are kept at most."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "logging_rules",
        sa.Column("max_requests", sa.Integer(), nullable=False, server_default="100000"),
    )
    op.create_index(
        "ix_request_logs_deployment", "request_logs", ["tenant_id", "deployment", "log_id"]
    )
