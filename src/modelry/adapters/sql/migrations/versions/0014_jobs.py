"""Jobs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
NAME = sa.String(length=64)
DIGEST = sa.String(length=71)
LONG_NAME = sa.String(length=200)
DOCUMENT = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True), "postgresql"
)


def _of_job(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", "job_id"],
        ["jobs.tenant_id", "jobs.job_id"],
        name=op.f(f"fk_{table}_jobs"),
        ondelete="CASCADE",
    )


def _of_content(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", "digest"], ["blobs.tenant_id", "blobs.digest"], name=op.f(f"fk_{table}_blobs")
    )


def upgrade() -> None:
    _jobs()
    _working()
    _told()


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("tenant_id", NAME, nullable=False),
        sa.Column("job_id", NAME, nullable=False),
        sa.Column("kind", NAME, nullable=False),
        sa.Column("name", LONG_NAME, nullable=False),
        sa.Column("parameters", DOCUMENT, nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("not_before", MOMENT, nullable=True),
        sa.Column("submitted_at", MOMENT, nullable=False),
        sa.Column("submitted_by", LONG_NAME, nullable=False),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("request", NAME, nullable=True),
        sa.Column("progress", DOCUMENT, nullable=True),
        sa.Column("outcome", DOCUMENT, nullable=True),
        sa.Column("error_code", NAME, nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("last_sequence", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_jobs_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_submitted_at", "jobs", ["tenant_id", "submitted_at", "job_id"])
    op.create_index("ix_jobs_state", "jobs", ["state", "tenant_id"])
    op.create_table(
        "job_dependencies",
        sa.Column("tenant_id", NAME, nullable=False),
        sa.Column("job_id", NAME, nullable=False),
        sa.Column("after_id", NAME, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        _of_job("job_dependencies"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "after_id"],
            ["jobs.tenant_id", "jobs.job_id"],
            name="fk_job_dependencies_after",
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "job_id", "after_id", name=op.f("pk_job_dependencies")
        ),
    )
    op.create_index("ix_job_dependencies_after_id", "job_dependencies", ["tenant_id", "after_id"])


def _working() -> None:
    op.create_table(
        "job_leases",
        sa.Column("tenant_id", NAME, nullable=False),
        sa.Column("job_id", NAME, nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("server_id", NAME, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        _of_job("job_leases"),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", name=op.f("pk_job_leases")),
    )
    op.create_index("ix_job_leases_server_id", "job_leases", ["server_id"])
    op.create_table(
        "job_attempts",
        sa.Column("tenant_id", NAME, nullable=False),
        sa.Column("job_id", NAME, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("server_id", NAME, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("outcome", NAME, nullable=True),
        sa.Column("error_code", NAME, nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        _of_job("job_attempts"),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "number", name=op.f("pk_job_attempts")),
    )
    op.create_index("ix_job_attempts_started_at", "job_attempts", ["tenant_id", "started_at"])


def _told() -> None:
    op.create_table(
        "job_events",
        sa.Column("tenant_id", NAME, nullable=False),
        sa.Column("job_id", NAME, nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", NAME, nullable=False),
        sa.Column("data", DOCUMENT, nullable=False),
        _of_job("job_events"),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "sequence", name=op.f("pk_job_events")),
    )
    op.create_table(
        "job_checkpoints",
        sa.Column("tenant_id", NAME, nullable=False),
        sa.Column("job_id", NAME, nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        _of_job("job_checkpoints"),
        _of_content("job_checkpoints"),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", name=op.f("pk_job_checkpoints")),
    )
    op.create_index("ix_job_checkpoints_digest", "job_checkpoints", ["tenant_id", "digest"])
    op.create_table(
        "job_artefacts",
        sa.Column("tenant_id", NAME, nullable=False),
        sa.Column("job_id", NAME, nullable=False),
        sa.Column("name", LONG_NAME, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        _of_job("job_artefacts"),
        _of_content("job_artefacts"),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "name", name=op.f("pk_job_artefacts")),
    )
    op.create_index("ix_job_artefacts_digest", "job_artefacts", ["tenant_id", "digest"])
