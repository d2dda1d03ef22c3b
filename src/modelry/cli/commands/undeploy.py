"""`modelry undeploy`: take a deployment away."""

from __future__ import annotations

from typing import Annotated

import typer

from modelry.cli.output import AsJson, Output
from modelry.cli.session import client_of


def undeploy(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the deployment.", show_default=False)],
    *,
    as_json: AsJson = False,
) -> None:
    """Take a deployment away; open requests are answered first, the model stays."""
    with client_of(context) as client:
        client.undeploy(name)
    output = Output(as_json)
    output.result({"undeployed": name}, lambda: output.say(f"Took '{name}' away."))
