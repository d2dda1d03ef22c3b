"""`modelry requests`: what is kept of requests, where an owner chose so."""

from __future__ import annotations

from typing import Annotated

import typer

from modelry.cli.commands.audit import Since, moment_of
from modelry.cli.confirmation import Yes, confirm
from modelry.cli.groups import command_group
from modelry.cli.output import AsJson, Output, json_text, table
from modelry.cli.session import client_of

app = command_group(
    "Keep requests of a deployment (nothing is kept by default), and read what was kept.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="The deployment.", show_default=False)]
LogId = Annotated[str, typer.Argument(help="As 'requests list' shows it.", show_default=False)]
ByDeployment = Annotated[str | None, typer.Option("--deployment", help="Of this deployment.")]
ByKey = Annotated[str | None, typer.Option("--key", help="Of this key or member.")]
ByRequest = Annotated[str | None, typer.Option("--request", help="With this request id.")]


@app.command("keep")
def keep(
    context: typer.Context,
    deployment: Name,
    *,
    sample: Annotated[float, typer.Option(help="The share of calls, 0 to 1.")] = 1.0,
    days: Annotated[int, typer.Option(help="Days until they are deleted.")] = 30,
    keep_input: Annotated[
        bool, typer.Option("--input/--no-input", help="Keep what was asked.")
    ] = True,
    keep_output: Annotated[
        bool, typer.Option("--output/--no-output", help="Keep what was answered.")
    ] = True,
    redact: Annotated[bool, typer.Option(help="Take personal data and secrets out first.")] = True,
    max_bytes: Annotated[
        int, typer.Option(help="Larger inputs and outputs are told by their size.")
    ] = 65536,
    attachments: Annotated[bool, typer.Option(help="Keep bytes such as images.")] = False,
    tensor_values: Annotated[
        bool, typer.Option(help="Keep the numbers in tensors, not only names and shapes.")
    ] = False,
    most: Annotated[
        int, typer.Option(help="How many are kept; the oldest are deleted first.")
    ] = 100_000,
    as_json: AsJson = False,
) -> None:
    """Keep requests from now on, or change what is kept."""
    with client_of(context) as client:
        rule = client.request_logs.keep(
            deployment,
            sample_rate=sample,
            retention_days=days,
            keep_input=keep_input,
            keep_output=keep_output,
            redact=redact,
            max_bytes=max_bytes,
            attachments=attachments,
            tensor_values=tensor_values,
            max_requests=most,
        )
    output = Output(as_json)

    def show() -> None:
        share = f"{rule.sample_rate:.0%} of" if rule.sample_rate < 1 else "all"
        how = "redacted" if rule.redact else "NOT redacted"
        output.say(
            f"Keeping {share} requests of '{rule.deployment}', {how}, for {rule.retention_days} "
            f"days, the newest {most:,}."
        )

    output.result(rule, show)


@app.command("stop")
def stop(context: typer.Context, deployment: Name) -> None:
    """Keep no more requests; what was kept stays until its time is over."""
    with client_of(context) as client:
        client.request_logs.stop(deployment)
    typer.echo(f"Nothing more is kept of the requests of '{deployment}'.")


@app.command("list")
def list_requests(
    context: typer.Context,
    *,
    since: Since = None,
    until: Since = None,
    deployment: ByDeployment = None,
    key: ByKey = None,
    request: ByRequest = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=500)] = 50,
    as_json: AsJson = False,
) -> None:
    """List kept requests, newest first, without what was said."""
    with client_of(context) as client:
        page = client.request_logs.list(
            since=moment_of(since, "--since"),
            until=moment_of(until, "--until"),
            deployment=deployment,
            key_id=key,
            request_id=request,
            limit=limit,
        )
    output = Output(as_json)

    def show() -> None:
        rows = [
            (
                one.log_id,
                one.at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
                one.deployment,
                one.version,
                one.key_id,
                one.status,
                f"{one.duration_s:.3f}",
                sum(one.redacted.values()),
            )
            for one in page.requests
        ]
        columns = ("ID", "TIME", "DEPLOYMENT", "VERSION>", "KEY", "STATUS", "SECONDS>", "REDACTED>")
        table(columns, rows, empty="No kept requests.")
        if page.dropped:
            output.note(f"{page.dropped} could not be kept since the server's start.")

    output.result(page.requests, show)


@app.command("show")
def show_request(context: typer.Context, log_id: LogId, *, as_json: AsJson = False) -> None:
    """Show what was said in a kept request; that it was read is in the audit log."""
    with client_of(context) as client:
        found = client.request_logs.get(log_id)
    Output(as_json).result(found, lambda: typer.echo(json_text(found.content)))


@app.command("delete")
def delete(
    context: typer.Context,
    log_id: Annotated[
        str | None, typer.Argument(help="One kept request.", show_default=False)
    ] = None,
    *,
    since: Since = None,
    until: Since = None,
    deployment: ByDeployment = None,
    key: ByKey = None,
    request: ByRequest = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete kept requests for good: one, or all that fit what is said."""
    confirm("Delete these kept requests for good?", yes=yes)
    with client_of(context) as client:
        if log_id is not None:
            client.request_logs.delete(log_id)
            count = 1
        else:
            count = client.request_logs.delete_all(
                since=moment_of(since, "--since"),
                until=moment_of(until, "--until"),
                deployment=deployment,
                key_id=key,
                request_id=request,
            )
    output = Output(as_json)
    output.result({"deleted": count}, lambda: output.say(f"Deleted {count}."))
