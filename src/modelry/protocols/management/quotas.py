"""`/quotas`: how much may be used, and is left."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from modelry.domain.access import Permission
from modelry.domain.quotas import MAX_LIMIT, MIN_LIMIT, Quota
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Quotas
from modelry.protocols.management.shapes import Answer, Body
from modelry.services.quotas.gates import Unit
from modelry.services.quotas.service import Standing

router = managed_router("quotas")

Whole = Annotated[int, Field(strict=True, ge=1, le=MAX_LIMIT)]
Fraction = Annotated[float, Field(strict=True, ge=MIN_LIMIT, le=MAX_LIMIT)]

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class KeyLimits(Body):
    """Upper bounds of a key; what is left out is unlimited."""

    requests_per_second: Fraction | None = None
    request_burst: Whole | None = None
    tokens_per_minute: Whole | None = None
    images_per_minute: Whole | None = None
    engine_seconds_per_minute: Fraction | None = None
    concurrent_requests: Whole | None = None
    requests_per_day: Whole | None = None
    requests_per_month: Whole | None = None
    tokens_per_day: Whole | None = None
    tokens_per_month: Whole | None = None
    images_per_day: Whole | None = None
    images_per_month: Whole | None = None
    engine_seconds_per_day: Fraction | None = None
    engine_seconds_per_month: Fraction | None = None
    explanations_per_minute: Whole | None = None
    explanations_per_day: Whole | None = None
    explanations_per_month: Whole | None = None
    cost_per_day: Fraction | None = None
    cost_per_month: Fraction | None = None
    cost_currency: Currency | None = None
    api_requests_per_second: Fraction | None = None


class TenantLimits(KeyLimits):
    """Upper bounds of a tenant; for what is left out the server's defaults hold."""

    storage_bytes: Whole | None = None
    weight: Fraction | None = None


class Left(Answer):
    """The bound of a unit that leaves least: its size, what is left, when it is whole again.

    Costs have a currency.
    """

    limit: float
    remaining: float
    reset_s: float
    currency: str | None = None


class QuotaStanding(Answer):
    """Limits, and what is left of them by unit; no `key_id` means the whole tenant."""

    key_id: str | None
    limits: dict[str, float | str]
    left: dict[str, Left]
    open_requests: int

    @classmethod
    def of(cls, standing: Standing) -> QuotaStanding:
        """The shape of `standing`."""
        return cls(
            key_id=standing.key_id or None,
            limits=standing.limits.set_values(),
            left={
                unit: Left(
                    **one._asdict(),
                    currency=standing.limits.cost_currency if unit == Unit.COST else None,
                )
                for unit, one in standing.left.items()
            },
            open_requests=standing.open_requests,
        )


class QuotaStandings(Answer):
    """The caller's key, then its tenant."""

    quotas: list[QuotaStanding]


class SetLimits(Answer):
    """The limits that were set for a key, or (no `key_id`) for a tenant."""

    tenant_id: str
    key_id: str | None
    limits: dict[str, float | str]

    @classmethod
    def of(cls, quota: Quota) -> SetLimits:
        """The shape of `quota`."""
        return cls(
            tenant_id=quota.tenant_id,
            key_id=quota.key_id or None,
            limits=quota.limits.set_values(),
        )


class SetLimitsList(Answer):
    """The keys that have limits of their own."""

    quotas: list[SetLimits]


@router.get(
    "/quotas",
    summary="What the caller and its tenant may use, and have left",
    openapi_extra=needs(Permission.SELF_READ),
)
async def my_quotas(caller: Caller, quotas: Quotas) -> QuotaStandings:
    """Any valid key may ask."""
    return QuotaStandings(quotas=[QuotaStanding.of(one) for one in quotas.mine(caller)])


@router.get("/quotas/keys", summary="Limits of keys", openapi_extra=needs(Permission.QUOTAS_READ))
def key_limits(caller: Caller, quotas: Quotas) -> SetLimitsList:
    """Keys without limits of their own are not listed."""
    return SetLimitsList(quotas=[SetLimits.of(one) for one in quotas.of_keys(caller)])


@router.put(
    "/quotas/keys/{key_id}",
    summary="Set all limits of a key",
    openapi_extra=needs(Permission.QUOTAS_WRITE),
)
def set_key_limits(key_id: str, body: KeyLimits, caller: Caller, quotas: Quotas) -> SetLimits:
    """None may be above the tenant's."""
    return SetLimits.of(quotas.set_key(caller, key_id, body.model_dump()))


@router.delete(
    "/quotas/keys/{key_id}",
    status_code=204,
    summary="Forget the limits of a key",
    openapi_extra=needs(Permission.QUOTAS_WRITE),
)
def clear_key_limits(key_id: str, caller: Caller, quotas: Quotas) -> None:
    """The tenant's limits hold on."""
    quotas.clear_key(caller, key_id)


@router.get(
    "/quotas/tenants/{tenant_id}",
    summary="Limits of a tenant",
    openapi_extra=needs(Permission.PLATFORM_READ),
)
def tenant_limits(tenant_id: str, caller: Caller, quotas: Quotas) -> SetLimits:
    """Those that were set for it; for the others the server's defaults hold."""
    return SetLimits.of(quotas.of_tenant(caller, tenant_id))


@router.put(
    "/quotas/tenants/{tenant_id}",
    summary="Set all limits of a tenant",
    openapi_extra=needs(Permission.PLATFORM_WRITE),
)
def set_tenant_limits(
    tenant_id: str, body: TenantLimits, caller: Caller, quotas: Quotas
) -> SetLimits:
    """For those that are left out the server's defaults hold."""
    return SetLimits.of(quotas.set_tenant(caller, tenant_id, body.model_dump()))
