"""The door to this package: a URL in, migrated stores out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from modelry.adapters.sql import row_security
from modelry.adapters.sql.engine import is_sqlite, open_engine
from modelry.adapters.sql.row_security import serving_role
from modelry.adapters.sql.schema import migrate
from modelry.adapters.sql.stores.audit import SqlAuditStore
from modelry.adapters.sql.stores.catalog import SqlCatalogStore
from modelry.adapters.sql.stores.data_keys import SqlDataKeyStore
from modelry.adapters.sql.stores.datasets import SqlDatasetStore
from modelry.adapters.sql.stores.deletions import SqlDeletionStore
from modelry.adapters.sql.stores.deployments import SqlDeploymentStore
from modelry.adapters.sql.stores.evaluations import SqlEvaluationStore
from modelry.adapters.sql.stores.explanations import SqlExplanationStore
from modelry.adapters.sql.stores.files import SqlFileStore
from modelry.adapters.sql.stores.jobs import SqlJobStore
from modelry.adapters.sql.stores.keys import SqlKeyStore
from modelry.adapters.sql.stores.lineages import SqlLineageStore
from modelry.adapters.sql.stores.prices import SqlPriceStore
from modelry.adapters.sql.stores.quotas import SqlQuotaStore
from modelry.adapters.sql.stores.request_logs import SqlRequestLogStore
from modelry.adapters.sql.stores.sessions import SqlSessionStore
from modelry.adapters.sql.stores.snapshots import SqlTenantSnapshots
from modelry.adapters.sql.stores.usage import SqlUsageStore
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.errors import Conflict, InvalidInput

CLOSE_TIMEOUT_S = 10.0


class Database:
    """An open database and the stores on it; all may be used from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._transactions = transactions = Transactions(engine)
        self.keys = SqlKeyStore(transactions)
        self.audit = SqlAuditStore(transactions)
        self.deletions = SqlDeletionStore(transactions)
        self.catalog = SqlCatalogStore(transactions)
        self.datasets = SqlDatasetStore(transactions)
        self.deployments = SqlDeploymentStore(transactions)
        self.data_keys = SqlDataKeyStore(transactions)
        self.quotas = SqlQuotaStore(transactions)
        self.sessions = SqlSessionStore(transactions)
        self.snapshots = SqlTenantSnapshots(transactions)
        self.request_logs = SqlRequestLogStore(transactions)
        self.usage = SqlUsageStore(transactions)
        self.prices = SqlPriceStore(transactions)
        self.evaluations = SqlEvaluationStore(transactions)
        self.explanations = SqlExplanationStore(transactions)
        self.files = SqlFileStore(transactions)
        self.lineages = SqlLineageStore(transactions)
        self.jobs = SqlJobStore(transactions)

    def check(self) -> None:
        """Read something; for the readiness probe.

        Raises:
            Overloaded: the database is busy, full or cannot be reached.
        """
        self.catalog.tenant_ids()

    def close(self) -> None:
        """Close all connections; transactions under way end first, if they end soon."""
        self._transactions.wait_for_end(CLOSE_TIMEOUT_S)
        self._engine.dispose()


def open_database(url: str, owner_url: str | None = None) -> Database:
    """Open the database at `url` and bring it to the schema of this program.

    Args:
        url: `sqlite:////absolute/path/modelry.db` or `postgresql+psycopg://…`.
        owner_url: on PostgreSQL, connects as the role that owns the tables, for as long as the
            schema is looked after; by default the role of `url` does that, too.

    Raises:
        InvalidInput: a URL is not usable, or its role passes over row-level security.
        Conflict: the database cannot be reached or written, or was written by a newer Modelry.
    """
    engine = open_engine(url)
    try:
        _prepare(engine, owner_url)
    except (OperationalError, ProgrammingError) as error:
        engine.dispose()
        raise Conflict(_reason(error), param="database_url") from None
    except BaseException:
        engine.dispose()
        raise
    return Database(engine)


@contextmanager
def existing_database(url: str) -> Iterator[Database]:
    """The database at `url` as it is, to be looked at: its schema is left alone.

    Raises:
        InvalidInput: the URL is not usable.
        Conflict: it cannot be reached, or holds something else than this version expects.
    """
    database = Database(open_engine(url))
    try:
        yield database
    except DBAPIError:
        raise Conflict(
            "The database cannot be read, or was not written by this version of Modelry."
        ) from None
    finally:
        database.close()


def _prepare(engine: Engine, owner_url: str | None) -> None:
    if is_sqlite(engine):
        if owner_url is not None:
            raise InvalidInput(
                "An owner's URL is for PostgreSQL; the database URL names SQLite.",
                param="database_owner_url",
            )
        migrate(engine)
        return
    role = serving_role(engine)
    if owner_url is None:
        migrate(engine, role)
        return
    owner = open_engine(owner_url)
    try:
        migrate(owner, role)
    finally:
        owner.dispose()


def _reason(error: DBAPIError) -> str:
    """What an operator needs to know, in the database's words, which hold no password."""
    said, *_ = str(error.orig).strip().splitlines()
    reason = said.rpartition("FATAL:")[2].strip().rstrip(".")
    if getattr(error.orig, "sqlstate", None) == row_security.NOT_ALLOWED:
        reason += "; give the URL of the role that owns the tables in MODELRY_DATABASE_OWNER_URL"
    return f"The database cannot be used: {reason}."
