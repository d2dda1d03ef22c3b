"""Run by Alembic: migrates over the connection, and inside the transaction, that it is given."""

from alembic import context

from modelry.adapters.sql.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
