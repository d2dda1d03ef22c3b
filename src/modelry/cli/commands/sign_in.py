"""`modelry sign-in` and `modelry sign-out`: a person at the terminal instead of an API key."""

from __future__ import annotations

import webbrowser
from typing import Annotated

import typer

from modelry.cli.kept_sessions import keep
from modelry.cli.output import Output
from modelry.cli.session import Session, client_of


def sign_in(
    context: typer.Context,
    issuer: Annotated[
        str | None,
        typer.Argument(help="Who signs you in; the server's only one by default."),
    ] = None,
    *,
    tenant: Annotated[
        str | None, typer.Option(help="The tenant to sign in to; the first that takes you.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the address in a browser.")] = True,
) -> None:
    """Sign in with the browser; later commands act as you until the session ends.

    A command with an API key (MODELRY_API_KEY, --api-key) uses the key.
    """
    from modelry.client.signing_in import SignIn

    options = context.find_object(Session) or Session()
    output = Output(as_json=False)
    with SignIn(options.url, issuer=issuer, tenant=tenant, ca=options.ca) as begun:
        output.say(f"Sign in at this address:\n\n  {begun.authorization_url}\n")
        if browser:
            webbrowser.open(begun.authorization_url)
        output.say(
            "Then copy the address of the page that you end on. Paste it here only: who has it "
            "can sign in as you."
        )
        done = begun.finish(typer.prompt("Address"))
    keep(done.url, done.session)
    output.say(f"You are signed in to tenant '{done.tenant_id}' as {done.role}.")
    output.say(f"The session ends at {done.expires_at} at the latest; 'modelry sign-out' ends it.")


def sign_out(context: typer.Context) -> None:
    """End the session of 'modelry sign-in'."""
    with client_of(context, by_session=True) as client:
        client.sign_out()
    keep(client.url, None)
    Output(as_json=False).say("You are signed out.")
