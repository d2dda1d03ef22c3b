"""`modelry tenants`: the platform's tenants."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from modelry.cli.confirmation import Yes, confirm
from modelry.cli.groups import command_group
from modelry.cli.output import AsJson, Output, table, time_text
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.records import Tenant, TenantDeletion

app = command_group(
    "Create, list, suspend and delete tenants (keys of the home tenant only).",
    no_args_is_help=True,
)

TenantId = Annotated[str, typer.Argument(help="The tenant's id.", show_default=False)]
_WAIT_S = 0.5


@app.command("create")
def create(
    context: typer.Context,
    tenant_id: Annotated[
        str,
        typer.Argument(
            help="2 to 40 lower-case letters, digits or '-'; for good.", show_default=False
        ),
    ],
    *,
    name: Annotated[str | None, typer.Option(help="What people call it. [default: the id]")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a tenant. Its first owner's key is shown this once: stdout holds the key alone."""
    with client_of(context) as client:
        made = client.tenants.create(tenant_id, name)
    output = Output(as_json)

    def show() -> None:
        output.note(f"Tenant {tenant_id}; its owner's key, which is not shown again:")
        output.say(made.owner.token)

    output.result(made, show)


@app.command("list")
def list_tenants(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List tenants."""
    with client_of(context) as client:
        tenants = client.tenants.list()

    def show() -> None:
        rows = [(one.tenant_id, one.name, one.state, time_text(one.created_at)) for one in tenants]
        table(("TENANT", "NAME", "STATE", "CREATED"), rows, empty="No tenants.")

    Output(as_json).result(tenants, show)


@app.command("show")
def show_tenant(
    context: typer.Context,
    tenant_id: Annotated[
        str | None, typer.Argument(help="By default your own.", show_default=False)
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show a tenant."""
    with client_of(context) as client:
        tenant = client.tenants.own() if tenant_id is None else client.tenants.get(tenant_id)
    _tell(tenant, as_json=as_json)


@app.command("rename")
def rename(
    context: typer.Context,
    tenant_id: TenantId,
    name: Annotated[str, typer.Argument(help="The new name.", show_default=False)],
    *,
    as_json: AsJson = False,
) -> None:
    """Give a tenant another name; its id stays."""
    with client_of(context) as client:
        tenant = client.tenants.rename(tenant_id, name)
    _tell(tenant, as_json=as_json)


@app.command("suspend")
def suspend(context: typer.Context, tenant_id: TenantId, *, as_json: AsJson = False) -> None:
    """Refuse a tenant's keys, cut its streams and end its replicas."""
    with client_of(context) as client:
        tenant = client.tenants.suspend(tenant_id)
    _tell(tenant, as_json=as_json)


@app.command("resume")
def resume(context: typer.Context, tenant_id: TenantId, *, as_json: AsJson = False) -> None:
    """Let a suspended tenant work again."""
    with client_of(context) as client:
        tenant = client.tenants.resume(tenant_id)
    _tell(tenant, as_json=as_json)


@app.command("delete")
def delete(
    context: typer.Context,
    tenant_id: TenantId,
    *,
    confirm_name: Annotated[
        str | None,
        typer.Option("--confirm", help="The tenant's name; asked for by default."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until everything is destroyed.")
    ] = True,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete a tenant with all that it has, for good, and show what was destroyed."""
    with client_of(context) as client:
        if confirm_name is None:
            confirm(f"Delete tenant '{tenant_id}' with all that it has, for good?", yes=yes)
            confirm_name = client.tenants.get(tenant_id).name
        deletion = client.tenants.delete(tenant_id, confirm=confirm_name)
        while wait and deletion.stage != "done":
            time.sleep(_WAIT_S)
            deletion = client.tenants.deletion(tenant_id)
    _tell_deletion(deletion, as_json=as_json)


@app.command("deletion")
def show_deletion(context: typer.Context, tenant_id: TenantId, *, as_json: AsJson = False) -> None:
    """Show how far the deletion of a tenant is, or what it destroyed."""
    with client_of(context) as client:
        deletion = client.tenants.deletion(tenant_id)
    _tell_deletion(deletion, as_json=as_json)


def _tell(tenant: Tenant, *, as_json: bool) -> None:
    output = Output(as_json)
    output.result(
        tenant, lambda: output.say(f"Tenant {tenant.tenant_id} ({tenant.name}) is {tenant.state}.")
    )


def _tell_deletion(deletion: TenantDeletion, *, as_json: bool) -> None:
    output = Output(as_json)

    def show() -> None:
        destroyed = deletion.destroyed
        output.say(
            f"Deletion {deletion.deletion_id} of tenant {deletion.tenant_id}: {deletion.stage}."
        )
        rows = [(name, count) for name, count in destroyed.get("rows", {}).items()]
        rows += [(what, destroyed[what]) for what in ("files", "file_bytes") if what in destroyed]
        keys = destroyed.get("encryption", {}).get("data_keys", [])
        rows += [(f"data key {one['fingerprint']}", 1) for one in keys]
        if rows:
            table(("DESTROYED", "COUNT>"), rows, empty="")

    output.result(deletion, show)
