"""`modelry register`: bring a model to the server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelry.cli.failures import usage_error
from modelry.cli.output import AsJson, Output
from modelry.cli.registered import tell_registered
from modelry.cli.session import client_of
from modelry.cli.transfers import TransferBars

if TYPE_CHECKING:
    from modelry.client import Client
    from modelry.client.model_files import Registrable
    from modelry.client.records import Registration


def register(
    context: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(
            exists=True,
            help="A model.yaml, a folder with one, or a model file.",
            show_default=False,
        ),
    ],
    *,
    name: Annotated[str | None, typer.Option(help="For a bare file: the model's name.")] = None,
    task: Annotated[str | None, typer.Option(help="For a bare file: the model's task.")] = None,
    deploy: Annotated[bool, typer.Option("--deploy", help="Deploy it as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """Register a version; only what the server has not yet is sent."""
    from modelry.client.model_files import BareFile, read_registrable

    found = read_registrable(path)
    if (name or task) and not all(isinstance(one, BareFile) for one in found):
        raise usage_error("a manifest says name and task itself.", "--name" if name else "--task")
    with client_of(context) as client:
        with TransferBars() as bars:
            done = [_register(client, one, name, task, bars) for one in found]
        tell_registered(client, done, Output(as_json), deploy=deploy)


def _register(
    client: Client, what: Registrable, name: str | None, task: str | None, bars: TransferBars
) -> Registration:
    from modelry.client.model_files import RemoteManifest

    if isinstance(what, RemoteManifest):
        return client.pull(manifest=what.text, progress=bars.fetched)
    return client.register_found(what, name=name, task=task, progress=bars.sent)
