"""`modelry tenant`: the own tenant's data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Annotated

import typer

from modelry.cli.groups import command_group
from modelry.cli.output import AsJson, Output, size_text, table
from modelry.cli.session import client_of

app = command_group(
    "Export all that belongs to your tenant, and say how long what is kept.", no_args_is_help=True
)

Days = Annotated[
    int | None, typer.Option(help="Days to keep them; 0 goes back to the default.", min=0)
]


@app.command("export")
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The tar file to write.", show_default=False)],
) -> None:
    """Write all that belongs to your tenant into a tar file, for its owner alone."""
    partial = file.with_name(f".{file.name}.part")
    size = 0
    try:
        with (
            client_of(context) as client,
            client.export_tenant() as pieces,
            _private(partial) as target,
        ):
            for piece in pieces:
                size += target.write(piece)
        if file.exists():
            raise FileExistsError(17, "File exists", str(file))
        partial.rename(file)
    finally:
        partial.unlink(missing_ok=True)
    typer.echo(f"Wrote {size_text(size)} to {file}; its last member, MANIFEST.json, has digests.")


@app.command("retention")
def retention(
    context: typer.Context,
    *,
    request_logs: Days = None,
    audit: Days = None,
    jobs: Days = None,
    as_json: AsJson = False,
) -> None:
    """Show how long what is kept, or set it."""
    wanted = {"request_logs": request_logs, "audit": audit, "jobs": jobs}
    chosen = {name: days or None for name, days in wanted.items() if days is not None}
    with client_of(context) as client:
        found = client.retention.set(chosen) if chosen else client.retention.list()

    def show() -> None:
        rows = [
            (
                one.what,
                "until the tenant is deleted" if one.days is None else f"{one.days} days",
                "default" if one.is_default else "set",
                f"{one.least_days} to {one.most_days} days",
            )
            for one in found
        ]
        table(("WHAT", "KEPT", "", "MAY BE"), rows, empty="Nothing.")

    Output(as_json).result(found, show)


def _private(path: Path) -> IO[bytes]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "wb")
