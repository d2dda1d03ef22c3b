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

app = command_group("Create, list, rotate and revoke API keys.", no_args_is_help=True)


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
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="A right of the role that it has, such as models:read; may be repeated. "
            "[default: all]"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once: stdout holds the key alone."""
    expires_at = None
    if expires_in is not None:
        expires_at = datetime.now(UTC) + timedelta(seconds=seconds_of(expires_in, "--expires-in"))
    with client_of(context) as client:
        made = client.keys.create(
            name,
            role,
            expires_at=expires_at,
            deployments=deployment or None,
            scopes=scope or None,
        )
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
                time_text(one.last_used_at),
                ", ".join(one.deployments) or "all",
                "all" if one.scopes is None else ", ".join(one.scopes),
            )
            for one in keys
        ]
        columns = (
            "KEY", "NAME", "ROLE", "CREATED", "EXPIRES", "REVOKED", "USED", "DEPLOYMENTS", "SCOPES",
        )  # fmt: skip
        table(columns, rows, empty="No keys.")

    Output(as_json).result(keys, show)


@app.command("rotate")
def rotate(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(help="As 'keys list' shows it.", show_default=False)],
    *,
    overlap: Annotated[
        str | None,
        typer.Option(help="How long the old secret stays valid, such as 1h. [default: not at all]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret. It is shown this once: stdout holds the key alone."""
    overlap_s = 0.0 if overlap is None else seconds_of(overlap, "--overlap")
    with client_of(context) as client:
        made = client.keys.rotate(key_id, overlap_s=overlap_s)
    output = Output(as_json)

    def show() -> None:
        until = time_text(made.key.previous_until)
        ends = f"until {until}" if until else "no more"
        output.note(f"Key {key_id}; the old secret is valid {ends}. The new one:")
        output.say(made.token)

    output.result(made, show)


@app.command("rename")
def rename(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(help="As 'keys list' shows it.", show_default=False)],
    name: Annotated[str, typer.Argument(help="The new name.", show_default=False)],
    *,
    as_json: AsJson = False,
) -> None:
    """Call a key something else."""
    with client_of(context) as client:
        key = client.keys.rename(key_id, name)
    output = Output(as_json)
    output.result(key, lambda: output.say(f"Key {key_id} is called {key.name!r} now."))


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
