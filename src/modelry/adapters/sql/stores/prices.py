"""The store of prices."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelry.adapters.sql.tables import PriceRow
from modelry.adapters.sql.transactions import Transactions
from modelry.domain.access import DEFAULT_TENANT_ID
from modelry.domain.prices import Price


class SqlPriceStore:
    """Implements `PriceStore`."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def all(self) -> list[Price]:
        """See `PriceStore.all`."""

        def work(session: Session) -> list[Price]:
            return [_price(row) for row in session.scalars(select(PriceRow))]

        return self._transactions.read(DEFAULT_TENANT_ID, work)

    def put(self, price: Price) -> None:
        """See `PriceStore.put`."""

        def work(session: Session) -> None:
            session.merge(_row(price))

        self._transactions.write(DEFAULT_TENANT_ID, work)


def _price(row: PriceRow) -> Price:
    return Price(
        price_id=row.price_id,
        unit=row.unit,
        amount=Decimal(row.amount),
        per=row.per,
        currency=row.currency,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        created_at=row.created_at,
        created_by=row.created_by,
        tenant=row.for_tenant,
        deployment=row.for_deployment,
        model=row.for_model,
        task=row.for_task,
    )


def _row(price: Price) -> PriceRow:
    return PriceRow(
        tenant_id=DEFAULT_TENANT_ID,
        price_id=price.price_id,
        unit=price.unit,
        amount=format(price.amount, "f"),
        per=price.per,
        currency=price.currency,
        valid_from=price.valid_from,
        valid_until=price.valid_until,
        created_at=price.created_at,
        created_by=price.created_by,
        for_tenant=price.tenant,
        for_deployment=price.deployment,
        for_model=price.model,
        for_task=price.task,
    )
