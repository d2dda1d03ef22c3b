"""`modelry status`: how the server is."""

from __future__ import annotations

from typing import Any

import typer

from modelry.cli.output import AsJson, Output, size_text, table
from modelry.cli.session import client_of


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
                ", ".join(_replica(replica) for replica in one.replicas) or "not loaded",
                size_text(sum(replica.memory_bytes or 0 for replica in one.replicas) or None),
            )
            for one in deployments
        ]
        columns = ("DEPLOYMENT", "MODEL", "VERSIONS", "SCALE", "REPLICAS", "MEMORY>")
        table(columns, rows, empty="Nothing is deployed; see 'modelry deploy --help'.")

    output.result({**told, "url": client.url, "deployment_list": deployments}, show)


def _headline(url: str, told: dict[str, Any]) -> str:
    state = "ready" if told.get("ready") else "not ready"
    return f"Modelry {told.get('version', '?')} at {url} is {state}."


def _scale(least: int, most: int) -> str:
    return str(least) if least == most else f"{least}..{most}"


def _replica(replica: Any) -> str:
    reason = f" ({replica.reason})" if replica.reason and replica.state != "ready" else ""
    return f"{replica.state}{reason}"
