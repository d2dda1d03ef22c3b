"""What was used, what it costs, and what made an answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict, Unpack

from modelry.client.decoding import decode, decode_list
from modelry.client.exchange import Flow, Param, Request, send, send_json
from modelry.client.operations.paths import api
from modelry.client.records import Price, RequestRecord, UsageGroup

Words = Sequence[str | int]


class UsageQuestion(TypedDict, total=False):
    """What to ask of usage.

    `since` and `until` have a time zone; by default the last 24 hours. `group_by` has any of
    key_id, deployment, model, version_number, task, status, minute, hour, day; caller with
    `shared`, tenant_id with `all_tenants`. The other words keep to what has one of their values.
    `shared` asks for what other tenants used of deployments that are shared with them;
    `all_tenants` for what every tenant used, which needs a key of the platform.
    """

    since: datetime
    until: datetime
    group_by: Sequence[str]
    tenant_id: Words
    key_id: Words
    deployment: Words
    model: Words
    version: Words
    task: Words
    status: Words
    shared: bool
    all_tenants: bool


def usage(**asked: Unpack[UsageQuestion]) -> Flow[list[UsageGroup]]:
    """What was used and what it cost: all pages in one list.

    Args:
        asked: see `UsageQuestion`; by default the last 24 hours in one sum.
    """
    params = _params(asked)
    found: list[UsageGroup] = []
    cursor: str | None = None
    while True:
        request = Request("GET", api("usage"), {**params, "cursor": cursor}, idempotent=True)
        body = yield from send_json(request)
        found += decode_list(UsageGroup, body, "usage")
        cursor = body.get("next_cursor")
        if cursor is None:
            return found


def usage_csv(**asked: Unpack[UsageQuestion]) -> Flow[str]:
    """As `usage`, as a table in CSV (RFC 4180): a line for each group and unit or currency.

    Args:
        asked: see `UsageQuestion`.
    """
    request = Request("GET", api("usage.csv"), _params(asked), idempotent=True)
    answer = yield from send(request)
    return answer.content.decode()


def requests_csv(*, since: datetime | None = None, until: datetime | None = None) -> Flow[str]:
    """Every single request as a table in CSV, by default of the last 24 hours.

    Args:
        since: those that began from this time on, with a time zone; at most 31 days.
        until: up to this time.
    """
    params = {
        "since": since.isoformat() if since else None,
        "until": until.isoformat() if until else None,
    }
    answer = yield from send(Request("GET", api("requests.csv"), params, idempotent=True))
    return answer.content.decode()


def _params(asked: UsageQuestion) -> dict[str, Param | tuple[str, ...]]:
    params: dict[str, Param | tuple[str, ...]] = {}
    for name, value in asked.items():
        if isinstance(value, datetime):
            params[name] = value.isoformat()
        elif isinstance(value, bool):
            params[name] = value
        elif value is not None:
            assert isinstance(value, Sequence)
            params[name] = tuple(map(str, value))
    return params


def trace(request_id: str) -> Flow[list[RequestRecord]]:
    """What made an answer, by the id in its header `x-request-id`; newest first.

    Raises:
        NotFound: no such request of this tenant is on record.
    """
    body = yield from send_json(Request("GET", api("requests", request_id), idempotent=True))
    return decode_list(RequestRecord, body, "requests")


def list_prices() -> Flow[list[Price]]:
    """All prices, the newest first; needs a key of the platform."""
    body = yield from send_json(Request("GET", api("prices"), idempotent=True))
    return decode_list(Price, body, "prices")


def add_price(
    unit: str,
    amount: Decimal | str | int,
    currency: str,
    *,
    per: int = 1,
    tenant: str = "*",
    deployment: str = "*",
    model: str = "*",
    task: str = "*",
    valid_from: datetime | None = None,
) -> Flow[Price]:
    """Add a price; it holds from the next minute on, or from a later one.

    Args:
        unit: such as input_tokens, output_tokens, images, items, engine_us, requests.
        amount: what `per` units cost.
        currency: three capital letters.
        per: how many units.
        tenant: whose use; a pattern with * and ?.
        deployment: of which deployments.
        model: of which models.
        task: of which tasks.
        valid_from: from when on, with a time zone.
    """
    body: dict[str, Any] = {
        "unit": unit,
        "amount": format(Decimal(amount), "f"),
        "currency": currency,
        "per": per,
        "tenant": tenant,
        "deployment": deployment,
        "model": model,
        "task": task,
    }
    if valid_from is not None:
        body["valid_from"] = valid_from.isoformat()
    return decode(Price, (yield from send_json(Request("POST", api("prices"), json=body))))


def end_price(price_id: str) -> Flow[Price]:
    """Let a price end with this minute; what was used under it costs what it did."""
    return decode(Price, (yield from send_json(Request("DELETE", api("prices", price_id)))))
