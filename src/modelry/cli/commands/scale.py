"""`modelry scale`: how many replicas."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from modelry.cli.durations import seconds_of
from modelry.cli.output import AsJson, Output
from modelry.cli.session import client_of
from modelry.cli.values import replica_range


def scale(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the deployment.", show_default=False)],
    replicas: Annotated[
        str,
        typer.Argument(
            help="Replicas per version: 2, or 0..2 to load on the first call.", show_default=False
        ),
    ],
    *,
    idle_unload: Annotated[
        str | None, typer.Option(help="Unload after so long without a request: 10m, or never.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change how many replicas each version of a deployment has."""
    least, most = replica_range(replicas, "REPLICAS")
    idle_s = None
    if idle_unload is not None:
        idle_s = math.inf if idle_unload == "never" else seconds_of(idle_unload, "--idle-unload")
    with client_of(context) as client:
        deployment = client.deployments.scale(
            name, min_replicas=least, max_replicas=most, idle_unload_s=idle_s
        )
    output = Output(as_json)
    words = (
        f"'{name}' has {least} replicas" if least == most else f"'{name}' has {replicas} replicas"
    )
    output.result(deployment, lambda: output.say(f"{words} per version."))
