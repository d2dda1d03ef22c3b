"""The door to this package: a URL in, migrated stores out."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from modelry.adapters.sql.engine import open_engine
from modelry.adapters.sql.schema import migrate
from modelry.adapters.sql.stores.catalog import SqlCatalogStore
from modelry.adapters.sql.stores.data_keys import SqlDataKeyStore
from modelry.adapters.sql.stores.deployments import SqlDeploymentStore
from modelry.adapters.sql.stores.keys import SqlKeyStore
from modelry.adapters.sql.stores.usage import SqlUsageStore
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.errors import Conflict


class Database:
    """An open database and the stores on it; all may be used from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        transactions = Transactions(engine)
        self.keys = SqlKeyStore(transactions)
        self.catalog = SqlCatalogStore(transactions)
        self.deployments = SqlDeploymentStore(transactions)
        self.data_keys = SqlDataKeyStore(transactions)
        self.usage = SqlUsageStore(transactions)

    def check(self) -> None:
        """Read something; for the readiness probe.

        Raises:
            Overloaded: the database is busy, full or cannot be reached.
        """
        self.catalog.tenant_ids()

    def close(self) -> None:
        """Close all connections; transactions under way end first."""
        self._engine.dispose()


def open_database(url: str) -> Database:
    """Open the database at `url` and bring it to the schema of this program.

    Args:
        url: `sqlite:////absolute/path/modelry.db` or `postgresql+psycopg://…`.

    Raises:
        InvalidInput: the URL is not usable.
        Conflict: the database cannot be reached or written, or was written by a newer Modelry.
    """
    engine = open_engine(url)
    try:
        migrate(engine)
    except (OperationalError, ProgrammingError) as error:
        engine.dispose()
        raise Conflict(_reason(error), param="database_url") from None
    except BaseException:
        engine.dispose()
        raise
    return Database(engine)


def _reason(error: DBAPIError) -> str:
    """What an operator needs to know, in the database's words, which hold no password."""
    said, *_ = str(error.orig).strip().splitlines()
    return f"The database cannot be used: {said.rpartition('FATAL:')[2].strip().rstrip('.')}."
