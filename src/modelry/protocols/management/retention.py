"""`/retention`: how long what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from modelry.domain.access import Permission
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Retention
from modelry.protocols.management.shapes import Answer, Body
from modelry.services.privacy.retention import DataClass, Kept

router = managed_router("retention")

Days = Annotated[int, Field(strict=True, ge=1, le=36_500)]


class KeptClass(Answer):
    """How many days a class of data is kept; null is until the tenant is deleted."""

    what: DataClass
    days: int | None
    is_default: bool
    least_days: int
    most_days: int


class KeptClasses(Answer):
    """All classes whose time can be set."""

    retention: list[KeptClass]

    @classmethod
    def of(cls, kept: Sequence[Kept]) -> KeptClasses:
        """The shape of `kept`."""
        return cls(
            retention=[
                KeptClass(
                    what=one.what,
                    days=one.days,
                    is_default=one.is_default,
                    least_days=one.bounds.least,
                    most_days=one.bounds.most,
                )
                for one in kept
            ]
        )


class RetentionBody(Body):
    """How many days each class is kept; null goes back to the default, what is left out stays."""

    request_logs: Days | None = None
    audit: Days | None = None
    jobs: Days | None = None


@router.get(
    "/retention",
    summary="How long what is kept",
    openapi_extra=needs(Permission.TENANT_READ),
)
def list_retention(caller: Caller, retention: Retention) -> KeptClasses:
    """Each class of data whose time can be set."""
    return KeptClasses.of(retention.kept(caller))


@router.put(
    "/retention",
    summary="Set how long what is kept",
    openapi_extra=needs(Permission.TENANT_WRITE, recorded=tuple(DataClass)),
)
def set_retention(body: RetentionBody, caller: Caller, retention: Retention) -> KeptClasses:
    """What is older is deleted by the next hourly sweep."""
    chosen = body.model_dump(exclude_unset=True)
    return KeptClasses.of(
        retention.put(caller, {DataClass(name): days for name, days in chosen.items()})
    )
