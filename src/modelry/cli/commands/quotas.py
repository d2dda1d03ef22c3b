"""`modelry quotas`: how much may be used, and is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modelry.cli.groups import command_group
from modelry.cli.output import AsJson, Output, table
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.records import QuotaStanding, SetLimits

app = command_group("See and set how much may be used.", no_args_is_help=True)

Limits = Annotated[
    list[str] | None,
    typer.Argument(
        help="All limits, such as requests_per_second=5 tokens_per_day=100000.",
        show_default=False,
    ),
]


@app.command("show")
def show(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show what the key in use, and its tenant, may use and have left."""
    with client_of(context) as client:
        standings = client.quotas.mine()

    def say() -> None:
        rows = [row for one in standings for row in _standing_rows(one)]
        table(("OF", "LIMIT", "VALUE", "LEFT"), rows, empty="No limits.")

    Output(as_json).result(standings, say)


@app.command("list")
def list_limits(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the keys of the tenant that have limits of their own."""
    with client_of(context) as client:
        found = client.quotas.of_keys()
    Output(as_json).result(found, lambda: _say_limits(found))


@app.command("set")
def set_limits(
    context: typer.Context,
    limits: Limits = None,
    *,
    key: Annotated[str | None, typer.Option(help="The key that they are for.")] = None,
    tenant: Annotated[str | None, typer.Option(help="The tenant that they are for.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set all limits of a key or of a tenant; what it had before and is not named ends."""
    _one_of(key, tenant)
    values = dict(_limit(text) for text in limits or [])
    if not values:
        raise typer.BadParameter("Give at least one limit, or use 'quotas clear'.")
    with client_of(context) as client:
        if key is not None:
            done = client.quotas.set_key(key, **values)
        else:
            done = client.quotas.set_tenant(str(tenant), **values)
    Output(as_json).result(done, lambda: _say_limits([done]))


@app.command("clear")
def clear(
    context: typer.Context,
    *,
    key: Annotated[str | None, typer.Option(help="The key that shall have none.")] = None,
    tenant: Annotated[str | None, typer.Option(help="The tenant that shall have none.")] = None,
    as_json: AsJson = False,
) -> None:
    """Forget the limits of a key or of a tenant."""
    _one_of(key, tenant)
    with client_of(context) as client:
        if key is not None:
            client.quotas.clear_key(key)
        else:
            client.quotas.set_tenant(str(tenant))
    output = Output(as_json)
    output.result({"cleared": key or tenant}, lambda: output.say(f"No limits for {key or tenant}."))


def _one_of(key: str | None, tenant: str | None) -> None:
    if (key is None) == (tenant is None):
        raise typer.BadParameter("Give one of --key and --tenant.")


def _limit(text: str) -> tuple[str, float | str]:
    name, _, number = text.partition("=")
    name = name.replace("-", "_")
    if name == "cost_currency":
        return name, number
    try:
        value = float(number)
    except ValueError:
        raise typer.BadParameter(f"'{text}' is not of the form requests_per_second=5.") from None
    return name, int(value) if value.is_integer() else value


def _standing_rows(standing: QuotaStanding) -> list[tuple[str, str, str, str]]:
    of = "tenant" if standing.key_id is None else f"key {standing.key_id}"
    rows = [(of, name, _told(value), "") for name, value in standing.limits.items()]
    rows += [
        (
            of,
            unit,
            _told(left.limit, left.currency),
            f"{_told(left.remaining, left.currency)}, all again in {left.reset_s:.1f} s",
        )
        for unit, left in standing.left.items()
    ]
    return rows


def _told(value: float | str, currency: str | None = None) -> str:
    number = value if isinstance(value, str) else f"{value:.12g}"
    return f"{number} {currency}" if currency else number


def _say_limits(found: list[SetLimits]) -> None:
    rows = [
        (one.key_id or f"tenant {one.tenant_id}", name, _told(value))
        for one in found
        for name, value in one.limits.items()
    ]
    table(("OF", "LIMIT", "VALUE"), rows, empty="No limits.")
