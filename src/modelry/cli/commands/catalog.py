"""`modelry catalog`: starter models."""

from __future__ import annotations

import typer

from modelry.cli.output import AsJson, Output, size_text, table
from modelry.cli.session import client_of


def catalog(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the starter models; `modelry pull NAME` fetches one."""
    with client_of(context) as client:
        entries = client.catalog()

    def show() -> None:
        rows = [
            (one.name, one.task, size_text(one.size_bytes), one.license, one.description)
            for one in entries
        ]
        table(
            ("NAME", "TASK", "SIZE>", "LICENSE", "DESCRIPTION"),
            rows,
            empty="The catalogue is empty.",
        )

    Output(as_json).result(entries, show)
