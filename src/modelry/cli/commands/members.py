"""`modelry members`: the people of a tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modelry.cli.confirmation import Yes, confirm
from modelry.cli.groups import command_group
from modelry.cli.output import AsJson, Output, table, time_text
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.records import Member

app = command_group("Add, list, change and disable members.", no_args_is_help=True)

MemberId = Annotated[str, typer.Argument(help="As 'members list' shows it.", show_default=False)]
_ROLES = "owner, admin, developer, operator, viewer, auditor or inference."


@app.command("add")
def add(
    context: typer.Context,
    email: Annotated[
        str | None,
        typer.Argument(help="The address that the person signs in with.", show_default=False),
    ] = None,
    *,
    role: Annotated[str, typer.Option(help=_ROLES)] = "viewer",
    name: Annotated[str, typer.Option(help="What people call the person.")] = "",
    issuer: Annotated[str | None, typer.Option(help="Who signs the person in.")] = None,
    subject: Annotated[str | None, typer.Option(help="What the issuer calls the person.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add a person, by e-mail or by issuer and subject."""
    with client_of(context) as client:
        member = client.members.add(role, email=email, name=name, issuer=issuer, subject=subject)
    _tell(member, "is added", as_json=as_json)


@app.command("list")
def list_members(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List members, also disabled ones."""
    with client_of(context) as client:
        members = client.members.list()

    def show() -> None:
        rows = [
            (
                one.member_id,
                one.email or one.subject,
                one.name,
                one.role,
                "disabled" if one.disabled_at else "active" if one.subject else "invited",
                time_text(one.created_at),
            )
            for one in members
        ]
        columns = ("MEMBER", "WHO", "NAME", "ROLE", "STATE", "ADDED")
        table(columns, rows, empty="No members.")

    Output(as_json).result(members, show)


@app.command("role")
def change_role(
    context: typer.Context,
    member_id: MemberId,
    role: Annotated[str, typer.Argument(help=_ROLES, show_default=False)],
    *,
    as_json: AsJson = False,
) -> None:
    """Give a member another role."""
    with client_of(context) as client:
        member = client.members.change(member_id, role)
    _tell(member, "is changed", as_json=as_json)


@app.command("disable")
def disable(
    context: typer.Context, member_id: MemberId, *, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Let a member sign in no more."""
    confirm(f"Disable member '{member_id}'?", yes=yes)
    with client_of(context) as client:
        member = client.members.disable(member_id)
    _tell(member, "is disabled", as_json=as_json)


@app.command("enable")
def enable(context: typer.Context, member_id: MemberId, *, as_json: AsJson = False) -> None:
    """Let a disabled member sign in again."""
    with client_of(context) as client:
        member = client.members.enable(member_id)
    _tell(member, "is enabled", as_json=as_json)


def _tell(member: Member, what: str, *, as_json: bool) -> None:
    output = Output(as_json)
    output.result(
        member, lambda: output.say(f"Member {member.member_id} (role {member.role}) {what}.")
    )
