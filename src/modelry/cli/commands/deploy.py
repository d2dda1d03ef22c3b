"""`modelry deploy`: let a model answer."""

from __future__ import annotations

from typing import Annotated

import typer

from modelry.cli.deploying import wait_for_model
from modelry.cli.durations import seconds_of
from modelry.cli.failures import usage_error
from modelry.cli.output import AsJson, Output
from modelry.cli.session import client_of
from modelry.cli.values import pairs, replica_range, traffic_shares


def deploy(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            help="The model, or MODEL@VERSION with a number or alias.", show_default=False
        ),
    ],
    *,
    name: Annotated[
        str | None, typer.Option(help="The deployment's name. [default: the model's]")
    ] = None,
    traffic: Annotated[
        str | None, typer.Option(help="Split the requests: version=percent, such as 1=90,2=10.")
    ] = None,
    replicas: Annotated[
        str | None,
        typer.Option(help="Replicas per version: 2, or 0..2 to load on the first call."),
    ] = None,
    idle_unload: Annotated[
        str | None, typer.Option(help="Unload after so long without a request: 10m.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="For the runtime, such as threads=4; may be repeated."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="queue, deadline_s, load_timeout_s, hang_timeout_s or memory_bytes, such as "
            "queue=64; may be repeated."
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until it can answer.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Let a version of a model answer; what is not given stays as it was."""
    model_name, _, version = model.partition("@")
    if version and traffic:
        raise usage_error("give MODEL@VERSION or --traffic, not both.", "--traffic")
    least, most = replica_range(replicas, "--replicas") if replicas else (None, None)
    output = Output(as_json)
    with client_of(context) as client:
        deployment = client.deploy(
            name or model_name,
            model=model_name,
            version=(int(version) if version.isdigit() else version) or None,
            traffic=traffic_shares(traffic, "--traffic") if traffic else None,
            min_replicas=least,
            max_replicas=most,
            idle_unload_s=seconds_of(idle_unload, "--idle-unload") if idle_unload else None,
            engine_options=pairs(option, "--option"),
            limits=pairs(limit, "--limit"),
        )
        if wait and deployment.scale.min_replicas > 0:
            wait_for_model(client, deployment.name)
            deployment = client.deployments.get(deployment.name)
    state = "is ready" if deployment.is_ready else "is deployed"
    versions = ", ".join(f"{deployment.model}@{one.version}" for one in deployment.traffic)
    output.result(deployment, lambda: output.say(f"'{deployment.name}' {state}: {versions}"))
