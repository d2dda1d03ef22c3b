"""`modelry models`: names with one task."""

from __future__ import annotations

from typing import Annotated

import typer

from modelry.cli.confirmation import Yes, confirm
from modelry.cli.groups import command_group
from modelry.cli.output import AsJson, Output, table, time_text
from modelry.cli.session import client_of

app = command_group("List, show and delete models.", invoke_without_command=True)

Name = Annotated[str, typer.Argument(help="Name of the model.", show_default=False)]


@app.callback()
def list_models(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List models; `show` and `delete` are about one."""
    if context.invoked_subcommand is None:
        _list(context, as_json=as_json)


@app.command("list")
def list_again(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List models; `modelry models` alone does it too."""
    _list(context, as_json=as_json)


def _list(context: typer.Context, *, as_json: bool) -> None:
    with client_of(context) as client:
        models = client.models.list()

    def show() -> None:
        rows = [
            (
                one.name,
                one.task,
                one.latest_version,
                ", ".join(f"{alias}={number}" for alias, number in sorted(one.aliases.items())),
                time_text(one.created_at),
            )
            for one in models
        ]
        columns = ("MODEL", "TASK", "LATEST>", "ALIASES", "CREATED")
        table(columns, rows, empty="No models yet; see 'modelry register' and 'modelry pull'.")

    Output(as_json).result(models, show)


@app.command("show")
def show_model(context: typer.Context, name: Name, *, as_json: AsJson = False) -> None:
    """Show one model."""
    output = Output(as_json)
    with client_of(context) as client:
        model = client.models.get(name)

    def show() -> None:
        output.say(f"{model.name}: {model.task}, latest version {model.latest_version}")
        for alias, number in sorted(model.aliases.items()):
            output.say(f"  {alias} = {number}")

    output.result(model, show)


@app.command("delete")
def delete_model(
    context: typer.Context, name: Name, *, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Delete a model with all its versions; refused while it is deployed."""
    confirm(f"Delete model '{name}' with all its versions?", yes=yes)
    with client_of(context) as client:
        client.models.delete(name)
    output = Output(as_json)
    output.result({"deleted": name}, lambda: output.say(f"Deleted model '{name}'."))
