"""`/usage`, `/requests`: what was used, and what made an answer."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import orjson
from fastapi import Depends, Query
from starlette.responses import StreamingResponse

from modelry.domain.access import Permission
from modelry.domain.errors import InvalidInput
from modelry.domain.usage import UsageRecord
from modelry.protocols.management.routing import managed_router, needs
from modelry.protocols.management.services import Caller, Usage
from modelry.protocols.management.shapes import Answer, Moment
from modelry.protocols.management.usage_tables import request_lines, total_lines
from modelry.services.usage.costs import CostedTotal
from modelry.services.usage.ports import UsageGroup
from modelry.services.usage.service import TotalsAsked

MAX_GROUPS = 10_000
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_COST_DIGITS = Decimal("1e-12")

router = managed_router("usage")

Words = Annotated[list[str], Query(max_length=100)]


class UsageTotal(Answer):
    """Sums of all units, for one value of each thing that was grouped by.

    `costs` has a decimal number for each currency.
    """

    group: dict[str, str]
    units: dict[str, int]
    costs: dict[str, str]


class UsageTotals(Answer):
    """What was used in the whole minutes from `since` up to `until`.

    `next_cursor` goes on where this page ends; null at the end.
    """

    since: datetime
    until: datetime
    usage: list[UsageTotal]
    next_cursor: str | None


class RequestRecord(Answer):
    """One request as the ledger has it.

    The digests, the replica and the options say what made the answer; they are empty for a
    deployment that another tenant shares. `caller` is the tenant that called a deployment shared
    with it, whose keys are not told.
    """

    request_id: str
    caller: str
    key_id: str
    deployment: str
    model: str
    version: int
    task: str
    status: str
    started_at: datetime
    duration_s: float
    units: dict[str, int]
    replica_id: str
    version_digest: str
    graph_digest: str
    engine_options: dict[str, Any]
    parameters: dict[str, Any]

    @classmethod
    def of(cls, record: UsageRecord) -> RequestRecord:
        """The shape of `record`."""
        return cls(
            request_id=record.request_id,
            caller=record.caller,
            key_id=record.key_id,
            deployment=record.deployment,
            model=record.model,
            version=record.version_number,
            task=record.task,
            status=record.status,
            started_at=record.started_at,
            duration_s=record.duration_us / 1e6,
            units=dict(record.units),
            replica_id=record.replica_id,
            version_digest=record.version_digest,
            graph_digest=record.graph_digest,
            engine_options=dict(record.engine_options),
            parameters=dict(record.parameters),
        )


class RequestRecords(Answer):
    """The requests with one id, the newest first; several if a caller used its id again."""

    requests: list[RequestRecord]


async def _question(  # noqa: PLR0917 - FastAPI calls it by name
    since: Moment | None = None,
    until: Moment | None = None,
    group_by: Annotated[list[UsageGroup], Query(max_length=len(UsageGroup))] = [],  # noqa: B006 - FastAPI copies it
    tenant_id: Words = [],  # noqa: B006
    key_id: Words = [],  # noqa: B006
    deployment: Words = [],  # noqa: B006
    model: Words = [],  # noqa: B006
    version: Words = [],  # noqa: B006
    task: Words = [],  # noqa: B006
    status: Words = [],  # noqa: B006
    *,
    shared: bool = False,
    all_tenants: bool = False,
) -> TotalsAsked:
    end = until or datetime.now(UTC) + timedelta(minutes=1)
    given = {
        UsageGroup.TENANT: tenant_id,
        UsageGroup.KEY: key_id,
        UsageGroup.DEPLOYMENT: deployment,
        UsageGroup.MODEL: model,
        UsageGroup.VERSION: version,
        UsageGroup.TASK: task,
        UsageGroup.STATUS: status,
    }
    return TotalsAsked(
        since=since or max(end, _EARLIEST) - timedelta(days=1),
        until=end,
        group_by=tuple(group_by),
        where={group: tuple(words) for group, words in given.items() if words},
        shared=shared,
        all_tenants=all_tenants,
    )


Question = Annotated[TotalsAsked, Depends(_question)]


@router.get("/usage", summary="What was used", openapi_extra=needs(Permission.METRICS_READ))
def read_usage(
    caller: Caller,
    usage: Usage,
    asked: Question,
    limit: Annotated[int, Query(ge=1, le=MAX_GROUPS)] = 1000,
    cursor: Annotated[str | None, Query(max_length=4096)] = None,
) -> UsageTotals:
    """By default the last 24 hours, all in one sum.

    `shared` asks for what other tenants used of deployments that are shared with them, instead of
    the tenant's own use; `all_tenants` for the use of every tenant, which the platform alone may.
    """
    after = None if cursor is None else _read_cursor(cursor)
    page = usage.totals(caller, replace(asked, limit=limit, after=after))
    return UsageTotals(
        since=asked.since,
        until=asked.until,
        usage=[
            UsageTotal(group=one.group, units=one.units, costs=_costs(one)) for one in page.totals
        ],
        next_cursor=None if page.next_after is None else _cursor(page.next_after),
    )


@router.get(
    "/usage.csv",
    summary="What was used, as a table",
    openapi_extra=needs(
        Permission.METRICS_READ,
        responses={"200": {"description": "RFC 4180.", "content": {"text/csv": {}}}},
    ),
    response_class=StreamingResponse,
)
def export_usage(caller: Caller, usage: Usage, asked: Question) -> StreamingResponse:
    """A row for each group and unit, and one for each currency of the costs.

    Cells that a spreadsheet would take for a formula begin with an apostrophe.
    """
    totals = usage.all_totals(caller, asked)
    lines = total_lines([one.value for one in asked.group_by], totals, _costs)
    return _csv_response("usage.csv", lines)


@router.get(
    "/requests.csv",
    summary="Every single request, as a table",
    openapi_extra=needs(
        Permission.METRICS_READ,
        responses={"200": {"description": "RFC 4180.", "content": {"text/csv": {}}}},
    ),
    response_class=StreamingResponse,
)
def export_requests(
    caller: Caller, usage: Usage, since: Moment | None = None, until: Moment | None = None
) -> StreamingResponse:
    """By default those of the last 24 hours; a row each, in no particular order.

    Units that have no column of their own are JSON in the last one.
    """
    end = until or datetime.now(UTC) + timedelta(minutes=1)
    records = usage.records(caller, since or max(end, _EARLIEST) - timedelta(days=1), end)
    return _csv_response("requests.csv", request_lines(records))


@router.get(
    "/requests/{request_id}",
    summary="What made an answer, by the request's id",
    openapi_extra=needs(Permission.METRICS_READ),
)
def trace_request(request_id: str, caller: Caller, usage: Usage) -> RequestRecords:
    """Every answer tells its id in the header `x-request-id`."""
    found = usage.trace(caller, request_id)
    return RequestRecords(requests=[RequestRecord.of(one) for one in found])


def _costs(total: CostedTotal) -> dict[str, str]:
    return {
        currency: format(cost.quantize(_COST_DIGITS).normalize(), "f")
        for currency, cost in sorted(total.costs.items())
    }


def _cursor(after: tuple[str, ...]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(after)).decode()


def _read_cursor(cursor: str) -> tuple[str, ...]:
    try:
        words = orjson.loads(base64.urlsafe_b64decode(cursor))
    except (ValueError, binascii.Error):
        words = None
    if not isinstance(words, list) or not all(isinstance(one, str) for one in words):
        raise InvalidInput("The cursor is not one that was told.", param="cursor")
    return tuple(words)


def _csv_response(name: str, lines: Iterator[bytes]) -> StreamingResponse:
    return StreamingResponse(
        lines,
        media_type="text/csv; charset=utf-8; header=present",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )
