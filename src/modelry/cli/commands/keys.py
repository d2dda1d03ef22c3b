"""`modelry keys`: API keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from modelry.cli.confirmation import Yes, confirm
from modelry.cli.durations import seconds_of
from modelry.cli.groups import command_group
from modelry.cli.output import AsJson, Output, table, time_text
from modelry.cli.session import client_of

app = command_group("Create, list and revoke API keys.", no_args_is_help=True)


@app.command("create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="To tell it apart.", show_default=False)],
    *,
    role: Annotated[
        str,
        typer.Option(help="owner, admin, developer, operator, viewer, auditor or inference."),
    ] = "inference",
    expires_in: Annotated[
        str | None, typer.Option(help="How long it works, such as 12h or 30d.")
    ] = None,
    deployment: Annotated[
        list[str] | None,
        typer.Option(help="A deployment that it may call; may be repeated. [default: all]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once: stdout holds the key alone."""
    expires_at = None
    if expires_in is not None:
        expires_at = datetime.now(UTC) + timedelta(seconds=seconds_of(expires_in, "--expires-in"))
    with client_of(context) as client:
        made = client.keys.create(name, role, expires_at=expires_at, deployments=deployment or None)
    output = Output(as_json)

    def show() -> None:
        output.note(f"Key {made.key.key_id} ({made.key.role}); keep it, it is not shown again:")
        output.say(made.token)

    output.result(made, show)


@app.command("list")
def list_keys(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List keys, without their secrets."""
    with client_of(context) as client:
        keys = client.keys.list()

    def show() -> None:
        rows = [
            (
                one.key_id,
                one.name,
                one.role,
                time_text(one.created_at),
                time_text(one.expires_at),
                time_text(one.revoked_at),
                ", ".join(one.deployments) or "all",
            )
            for one in keys
        ]
        columns = ("KEY", "NAME", "ROLE", "CREATED", "EXPIRES", "REVOKED", "DEPLOYMENTS")
        table(columns, rows, empty="No keys.")

    Output(as_json).result(keys, show)


@app.command("revoke")
def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(help="As 'keys list' shows it.", show_default=False)],
    *,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Let a key be valid no more."""
    confirm(f"Revoke key '{key_id}'?", yes=yes)
    with client_of(context) as client:
        client.keys.revoke(key_id)
    output = Output(as_json)
    output.result({"revoked": key_id}, lambda: output.say(f"Revoked key {key_id}."))


@app.command("whoami")
def whoami(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show what the key in use may do."""
    with client_of(context) as client:
        caller = client.keys.whoami()
    output = Output(as_json)

    def show() -> None:
        output.say(f"Key {caller.key_id}, role {caller.role}, tenant {caller.tenant_id}")
        output.say(f"Permissions: {', '.join(caller.permissions)}")
        output.say(f"Deployments: {', '.join(caller.deployments) or 'all'}")

    output.result(caller, show)
