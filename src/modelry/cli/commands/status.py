"""`modelry status`: how the server is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from modelry.cli.output import AsJson, Output, size_text, table
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.records import Deployment, Replica


def status(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show how the server and its deployments are."""
    output = Output(as_json)
    with client_of(context) as client:
        told = client.status()
        deployments = client.deployments.list()

    def show() -> None:
        output.say(_headline(client.url, told))
        rows = [
            (
                one.name,
                one.model,
                ", ".join(f"{share.version}: {share.percent:g} %" for share in one.traffic),
                _scale(one.scale.min_replicas, one.scale.max_replicas),
                ", ".join(replica.state for replica in one.replicas) or "not loaded",
                size_text(sum(replica.memory_bytes or 0 for replica in one.replicas) or None),
            )
            for one in deployments
        ]
        columns = ("DEPLOYMENT", "MODEL", "VERSIONS", "SCALE", "REPLICAS", "MEMORY>")
        table(columns, rows, empty="Nothing is deployed; see 'modelry deploy --help'.")
        for name, replica in troubled(deployments):
            output.say(f"{name}, replica {replica.replica_id} {replica.state}: {replica.reason}")

    output.result({**told, "url": client.url, "deployment_list": deployments}, show)


def _headline(url: str, told: dict[str, Any]) -> str:
    state = "ready" if told.get("ready") else "not ready"
    sandbox = (told.get("sandbox") or {}).get("level", "unknown")
    return f"Modelry {told.get('version', '?')} at {url} is {state}. Workers' sandbox: {sandbox}."


def _scale(least: int, most: int) -> str:
    return str(least) if least == most else f"{least}..{most}"


def troubled(deployments: Sequence[Deployment]) -> Iterator[tuple[str, Replica]]:
    """Replicas that say why they are not ready, with their deployment's name."""
    for deployment in deployments:
        for replica in deployment.replicas:
            if replica.reason and replica.state != "ready":
                yield deployment.name, replica
