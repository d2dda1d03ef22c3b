"""`modelry encryption`: how what is kept is encrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from modelry.cli.groups import command_group
from modelry.cli.output import AsJson, Output, table, time_text
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client.records import EncryptionStatus

app = command_group("See how what is kept is encrypted, and rotate keys.", no_args_is_help=True)


@app.command("status")
def status(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show under which key-encryption keys the data keys of all tenants are."""
    output = Output(as_json)
    with client_of(context) as client:
        found = client.encryption.status()
    output.result(found, lambda: _say(found, output))


@app.command("rotate")
def rotate(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Wrap all data keys anew under a new key-encryption key; no file is touched."""
    output = Output(as_json)
    with client_of(context) as client:
        done = client.encryption.rotate()
    output.result(
        done,
        lambda: output.say(
            f"{done.rewrapped} data keys are now encrypted under {done.kek_id}."
            if done.kek_id
            else "There are no data keys yet."
        ),
    )


def _say(found: EncryptionStatus, output: Output) -> None:
    output.say(f"Keys come from: {found.provider}")
    output.say(f"Data keys: {found.data_keys}, and {found.destroyed_keys} destroyed")
    if found.oldest_wrap is not None:
        output.say(f"Wrapped: {time_text(found.oldest_wrap)} at the longest ago")
    rows = [(one.kek_id, one.data_keys) for one in found.key_encryption_keys]
    table(("KEY", "DATA KEYS>"), rows, empty="No data keys yet.")
