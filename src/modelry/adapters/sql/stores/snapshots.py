"""All rows of a tenant, for its export."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from modelry.adapters.sql.stores.deletions import tenant_tables
from modelry.adapters.sql.transactions import Transactions
from modelry.services.privacy.ports import TakeRow

ROWS_AT_ONCE = 500


class SqlTenantSnapshots:
    """Implements `TenantSnapshots`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def rows(self, tenant_id: str, begin: Callable[[], TakeRow]) -> None:
        """See `TenantSnapshots.rows`."""

        def work(session: Session) -> None:
            take = begin()
            for table in reversed(tenant_tables()):
                mapper = inspect(table)
                names = [column.key for column in mapper.column_attrs]
                query = select(table).order_by(*mapper.primary_key)
                for row in session.scalars(query.execution_options(yield_per=ROWS_AT_ONCE)):
                    take(table.__tablename__, {name: getattr(row, name) for name in names})  # type: ignore[attr-defined] # every mapped class has one

        self._transactions.read(tenant_id, work)
