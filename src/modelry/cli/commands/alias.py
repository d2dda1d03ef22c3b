"""`modelry alias`: movable names for versions."""

from __future__ import annotations

from typing import Annotated

import typer

from modelry.cli.groups import command_group
from modelry.cli.output import AsJson, Output, table, time_text
from modelry.cli.session import client_of

app = command_group("List, move and remove aliases of versions.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="Name of the model.", show_default=False)]
Name = Annotated[str, typer.Argument(help="The alias, such as champion.", show_default=False)]
Reason = Annotated[str | None, typer.Option(help="Why; goes into the history.")]


@app.command("list")
def list_aliases(context: typer.Context, model: Model, *, as_json: AsJson = False) -> None:
    """List the aliases of a model."""
    with client_of(context) as client:
        aliases = client.aliases.list(model)

    def show() -> None:
        rows = [(one.name, one.version, time_text(one.moved_at)) for one in aliases]
        table(("ALIAS", "VERSION>", "MOVED"), rows, empty="No aliases.")

    Output(as_json).result(aliases, show)


@app.command("set")
def set_alias(
    context: typer.Context,
    model: Model,
    alias: Name,
    version: Annotated[int, typer.Argument(help="Number of the version.", show_default=False)],
    *,
    reason: Reason = None,
    expected: Annotated[
        int | None, typer.Option(help="Move it only if it names this version now.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let an alias name a version."""
    with client_of(context) as client:
        moved = client.aliases.set(model, alias, version, reason=reason, expected=expected)
    output = Output(as_json)
    output.result(moved, lambda: output.say(f"{model}@{moved.name} is version {moved.version}."))


@app.command("delete")
def delete_alias(
    context: typer.Context,
    model: Model,
    alias: Name,
    *,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Remove an alias; its history stays."""
    with client_of(context) as client:
        client.aliases.delete(model, alias, reason=reason)
    output = Output(as_json)
    deleted = f"{model}@{alias}"
    output.result({"deleted": deleted}, lambda: output.say(f"Removed alias {deleted}."))


@app.command("history")
def history(
    context: typer.Context,
    model: Model,
    alias: Annotated[
        str | None, typer.Argument(help="Of this alias alone.", show_default=False)
    ] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many moves.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who moved aliases, when and why."""
    with client_of(context) as client:
        moves = client.aliases.moves(model, alias, limit=limit)

    def show() -> None:
        rows = [
            (
                time_text(one.moved_at),
                one.alias,
                one.from_version,
                one.to_version,
                one.moved_by,
                one.reason,
            )
            for one in moves
        ]
        columns = ("MOVED", "ALIAS", "FROM>", "TO>", "BY", "REASON")
        table(columns, rows, empty="No moves.")

    Output(as_json).result(moves, show)
