"""`modelry usage` and `modelry trace`: what was used, and what made an answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from modelry.cli.durations import seconds_of
from modelry.cli.output import AsJson, Output, table
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.operations.usage import UsageQuestion
    from modelry.client.records import RequestRecord, UsageGroup

_LATER = ("requests", "duration_us", "engine_us")
"""Units that are shown before those of the tasks."""
_MICROSECONDS = "_us"


def usage(
    context: typer.Context,
    *,
    last: Annotated[str, typer.Option(help="How far back, such as 90m, 24h or 30d.")] = "24h",
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Tell apart by: key_id, deployment, model, version_number, task, status, minute, "
            "hour, day, caller (with --shared), tenant_id (with --all-tenants); may be repeated.",
        ),
    ] = None,
    tenant: Annotated[list[str] | None, typer.Option(help="Only of this tenant.")] = None,
    key: Annotated[list[str] | None, typer.Option(help="Only of this key.")] = None,
    deployment: Annotated[list[str] | None, typer.Option(help="Only of this deployment.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only of this task.")] = None,
    status: Annotated[
        list[str] | None, typer.Option(help="Only what ended so: ok, or an error's code.")
    ] = None,
    shared: Annotated[
        bool, typer.Option("--shared", help="What others used of deployments shared with them.")
    ] = False,
    all_tenants: Annotated[
        bool, typer.Option("--all-tenants", help="What every tenant used.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")] = False,
    requests: Annotated[
        bool, typer.Option("--requests", help="Print every single request as CSV.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what was used and what it cost."""
    since = datetime.now(UTC) - timedelta(seconds=seconds_of(last, "--last"))
    wanted: UsageQuestion = {
        "since": since,
        "group_by": by or ["deployment"],
        "tenant_id": tenant or (),
        "key_id": key or (),
        "deployment": deployment or (),
        "task": task or (),
        "status": status or (),
        "shared": shared,
        "all_tenants": all_tenants,
    }
    with client_of(context) as client:
        if requests:
            typer.echo(client.requests_csv(since=since), nl=False)
            return
        if csv:
            typer.echo(client.usage_csv(**wanted), nl=False)
            return
        found = client.usage(**wanted)
    Output(as_json).result(found, lambda: _show(found))


def _show(found: Sequence[UsageGroup]) -> None:
    names = list(found[0].group) if found else []
    units = sorted({unit for one in found for unit in one.units if unit not in _LATER})
    currencies = sorted({currency for one in found for currency in one.costs})
    rows = [
        (
            *(one.group[name] for name in names),
            one.units.get("requests", 0),
            *(_amount(one, unit) for unit in units),
            _amount(one, "engine_us"),
            *(one.costs.get(currency, "") for currency in currencies),
        )
        for one in found
    ]
    columns = [
        *(name.upper() for name in names),
        "REQUESTS>",
        *(f"{_heading(unit)}>" for unit in units),
        "ENGINE S>",
        *(f"{currency}>" for currency in currencies),
    ]
    table(columns, rows, empty="Nothing was used.")


def _amount(one: UsageGroup, unit: str) -> str | int:
    """How much of a unit; times in seconds."""
    amount = one.units.get(unit, 0)
    return f"{amount / 1e6:.3f}" if unit.endswith(_MICROSECONDS) else amount


def _heading(unit: str) -> str:
    if unit.endswith(_MICROSECONDS):
        return f"{unit.removesuffix(_MICROSECONDS).upper()} S"
    return unit.upper()


def trace(
    context: typer.Context,
    request_id: Annotated[
        str, typer.Argument(help="The answer's header x-request-id.", show_default=False)
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Show what made an answer: version, digests, replica, parameters."""
    with client_of(context) as client:
        found = client.trace(request_id)
    output = Output(as_json)
    output.result(found, lambda: _say_all(output, found))


def _say_all(output: Output, found: Sequence[RequestRecord]) -> None:
    for at, one in enumerate(found):
        if at:
            output.say("")
        for name, value in _lines(one):
            output.say(f"{name:<16}{value}")


def _lines(one: RequestRecord) -> list[tuple[str, str]]:
    lines = [
        ("Request", one.request_id),
        ("Status", one.status),
        ("Started", one.started_at.isoformat()),
        ("Duration", f"{one.duration_s:.6f} s"),
        ("Key", one.key_id),
        ("Caller", one.caller),
        ("Deployment", one.deployment),
        ("Model", f"{one.model}@{one.version}" if one.model else ""),
        ("Task", one.task),
        ("Version digest", one.version_digest),
        ("Graph digest", one.graph_digest),
        ("Replica", one.replica_id),
        ("Engine options", _words(one.engine_options)),
        ("Parameters", _words(one.parameters)),
        ("Units", _words(one.units)),
    ]
    return [(name, value) for name, value in lines if value]


def _words(values: object) -> str:
    assert hasattr(values, "items")
    return ", ".join(f"{name}={value}" for name, value in values.items())
