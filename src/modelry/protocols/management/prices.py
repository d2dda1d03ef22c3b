"""`/prices`: what units of usage cost."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from modelry.domain import prices as domain
from modelry.domain.access import Permission
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Prices
from modelry.protocols.management.shapes import Answer, Body, Moment

router = managed_router("prices")

Pattern = Annotated[str, Field(min_length=1, max_length=129)]


class Price(Answer):
    """What `per` units cost, for what matches all patterns, from one time to another."""

    price_id: str
    unit: str
    amount: str
    per: int
    currency: str
    tenant: str
    deployment: str
    model: str
    task: str
    valid_from: datetime
    valid_until: datetime | None
    created_at: datetime
    created_by: str

    @classmethod
    def of(cls, price: domain.Price) -> Price:
        """The shape of `price`."""
        return cls(
            price_id=price.price_id,
            unit=price.unit,
            amount=format(price.amount, "f"),
            per=price.per,
            currency=price.currency,
            tenant=price.tenant,
            deployment=price.deployment,
            model=price.model,
            task=price.task,
            valid_from=price.valid_from,
            valid_until=price.valid_until,
            created_at=price.created_at,
            created_by=price.created_by,
        )


class PriceList(Answer):
    """All prices, the newest first, also those that have ended."""

    prices: list[Price]


class PriceBody(Body):
    """A price to add; of several that match a use, the one with the closest patterns counts.

    `amount` is a decimal number as text, such as "0.15", so that nothing rounds it.
    """

    unit: Annotated[str, Field(min_length=1, max_length=40)]
    amount: Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,12})?$")]
    per: Annotated[int, Field(strict=True, ge=1, le=10**12)] = 1
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    tenant: Pattern = domain.ANY
    deployment: Pattern = domain.ANY
    model: Pattern = domain.ANY
    task: Pattern = domain.ANY
    valid_from: Moment | None = None


@router.get("/prices", summary="List prices", openapi_extra=needs(Permission.PLATFORM_READ))
def list_prices(caller: Caller, prices: Prices) -> PriceList:
    """Past ones too: they say what things cost then."""
    return PriceList(prices=[Price.of(one) for one in prices.list(caller)])


@router.post(
    "/prices",
    status_code=201,
    summary="Add a price",
    openapi_extra=needs(Permission.PLATFORM_WRITE),
)
def add_price(body: PriceBody, caller: Caller, prices: Prices) -> Price:
    """It holds from the next minute on, or from a later one; never for what was used before."""
    added = prices.add(
        caller,
        unit=body.unit,
        amount=Decimal(body.amount),
        per=body.per,
        currency=body.currency,
        valid_from=body.valid_from,
        patterns={
            "tenant": body.tenant,
            "deployment": body.deployment,
            "model": body.model,
            "task": body.task,
        },
    )
    return Price.of(added)


@router.delete(
    "/prices/{price_id}",
    summary="Let a price end with this minute",
    openapi_extra=needs(Permission.PLATFORM_WRITE),
)
def end_price(price_id: str, caller: Caller, prices: Prices) -> Price:
    """It stays in the list, and what was used under it costs what it did."""
    return Price.of(prices.end(caller, price_id))
