"""`modelry prices`: what units of usage cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modelry.cli.confirmation import Yes, confirm
from modelry.cli.groups import command_group
from modelry.cli.output import AsJson, Output, table, time_text
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.records import Price

app = command_group("See and set what usage costs.", no_args_is_help=True)

Pattern = Annotated[str, typer.Option(help="For what it is; a pattern with * and ?.")]


@app.command("list")
def list_prices(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List all prices, also those that have ended."""
    with client_of(context) as client:
        found = client.prices.list()
    Output(as_json).result(found, lambda: _show(found))


@app.command("add")
def add(
    context: typer.Context,
    unit: Annotated[
        str,
        typer.Argument(
            help="Such as input_tokens, output_tokens, images, items, engine_us, requests.",
            show_default=False,
        ),
    ],
    amount: Annotated[str, typer.Argument(help="A decimal number.", show_default=False)],
    currency: Annotated[str, typer.Argument(help="Such as EUR.", show_default=False)],
    *,
    per: Annotated[int, typer.Option(help="How many units cost that much.")] = 1,
    tenant: Pattern = "*",
    deployment: Pattern = "*",
    model: Pattern = "*",
    task: Pattern = "*",
    as_json: AsJson = False,
) -> None:
    """Add a price; it holds from the next minute on."""
    with client_of(context) as client:
        made = client.prices.add(
            unit, amount, currency, per=per, tenant=tenant, deployment=deployment, model=model,
            task=task,
        )  # fmt: skip
    Output(as_json).result(made, lambda: _show([made]))


@app.command("end")
def end(
    context: typer.Context,
    price_id: Annotated[str, typer.Argument(help="As 'prices list' shows it.", show_default=False)],
    *,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Let a price end with this minute; past costs stay."""
    confirm(f"End price '{price_id}'?", yes=yes)
    with client_of(context) as client:
        ended = client.prices.end(price_id)
    Output(as_json).result(ended, lambda: _show([ended]))


def _show(prices: list[Price]) -> None:
    rows = [
        (
            one.price_id,
            one.unit,
            f"{one.amount} {one.currency}",
            one.per,
            one.tenant,
            one.deployment,
            one.model,
            one.task,
            time_text(one.valid_from),
            time_text(one.valid_until),
        )
        for one in prices
    ]
    columns = (
        "PRICE", "UNIT", "AMOUNT>", "PER>", "TENANT", "DEPLOYMENT", "MODEL", "TASK", "FROM",
        "UNTIL",
    )  # fmt: skip
    table(columns, rows, empty="No prices.")
