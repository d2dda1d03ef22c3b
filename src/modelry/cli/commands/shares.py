"""`modelry shares`: deployments that tenants let each other call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from modelry.cli.confirmation import Yes, confirm
from modelry.cli.durations import seconds_of
from modelry.cli.groups import command_group
from modelry.cli.output import AsJson, Output, table, time_text
from modelry.cli.session import client_of

app = command_group("Share deployments with other tenants.", no_args_is_help=True)


@app.command("create")
def create(
    context: typer.Context,
    deployment: Annotated[str, typer.Argument(help="Which deployment.", show_default=False)],
    tenant_id: Annotated[str, typer.Argument(help="With which tenant.", show_default=False)],
    *,
    expires_in: Annotated[
        str | None, typer.Option(help="How long, such as 12h or 30d. [default: until revoked]")
    ] = None,
    note: Annotated[str, typer.Option(help="Why; both tenants see it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let another tenant call a deployment."""
    expires_at = None
    if expires_in is not None:
        expires_at = datetime.now(UTC) + timedelta(seconds=seconds_of(expires_in, "--expires-in"))
    with client_of(context) as client:
        made = client.shares.share(deployment, tenant_id, expires_at=expires_at, note=note)
    output = Output(as_json)
    output.result(
        made,
        lambda: output.say(
            f"Grant {made.grant_id}: tenant {made.tenant_id} calls it '{made.shared_name}'."
        ),
    )


@app.command("list")
def list_shares(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List what is shared, also what was taken back."""
    with client_of(context) as client:
        shares = client.shares.list()

    def show() -> None:
        rows = [
            (
                one.grant_id,
                one.deployment,
                one.tenant_id,
                time_text(one.created_at),
                time_text(one.expires_at),
                time_text(one.revoked_at),
                one.note,
            )
            for one in shares
        ]
        columns = ("GRANT", "DEPLOYMENT", "TENANT", "SINCE", "EXPIRES", "REVOKED", "NOTE")
        table(columns, rows, empty="Nothing is shared.")

    Output(as_json).result(shares, show)


@app.command("received")
def list_received(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List what other tenants share with yours."""
    with client_of(context) as client:
        shares = client.shares.received()

    def show() -> None:
        rows = [
            (one.shared_name, time_text(one.created_at), time_text(one.expires_at), one.note)
            for one in shares
        ]
        table(("MODEL", "SINCE", "EXPIRES", "NOTE"), rows, empty="Nothing is shared with you.")

    Output(as_json).result(shares, show)


@app.command("revoke")
def revoke(
    context: typer.Context,
    grant_id: Annotated[str, typer.Argument(help="As 'shares list' shows it.", show_default=False)],
    *,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take a shared deployment back; requests that are open under it are cut off."""
    confirm(f"Take grant '{grant_id}' back?", yes=yes)
    with client_of(context) as client:
        client.shares.revoke(grant_id)
    output = Output(as_json)
    output.result({"revoked": grant_id}, lambda: output.say(f"Took grant {grant_id} back."))
