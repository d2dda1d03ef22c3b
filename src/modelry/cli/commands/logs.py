"""`modelry logs`: what replicas wrote."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from modelry.cli.failures import usage_error
from modelry.cli.output import AsJson, Output
from modelry.cli.session import client_of

POLL_S = 1.0


def logs(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the deployment.", show_default=False)],
    *,
    replica: Annotated[str | None, typer.Option(help="Of this replica alone.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as lines are written.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the last lines that the replicas of a deployment wrote."""
    if follow and as_json:
        raise usage_error("--follow has no end, so it cannot give JSON.", "--json")
    output = Output(as_json)
    with client_of(context) as client:
        found = client.deployments.logs(name, replica_id=replica)
        output.result(found, lambda: _show(output, found, {}))
        while follow:
            time.sleep(POLL_S)
            seen, found = found, client.deployments.logs(name, replica_id=replica)
            _show(output, found, seen)


def _show(output: Output, logs: dict[str, list[str]], seen: dict[str, list[str]]) -> None:
    for replica_id, lines in logs.items():
        for line in lines[new_from(seen.get(replica_id, []), lines) :]:
            output.say(f"{replica_id} | {line}" if len(logs) > 1 else line)


def new_from(seen: list[str], lines: list[str]) -> int:
    """Where the lines begin that were not seen yet; old ones may have been dropped."""
    for overlap in range(min(len(seen), len(lines)), 0, -1):
        if seen[-overlap:] == lines[:overlap]:
            return overlap
    return 0
