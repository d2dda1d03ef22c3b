"""Waiting for a deployment, with something to see meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelry.cli.output import printable, stderr_console

if TYPE_CHECKING:
    from modelry.client import Client


def wait_for_model(client: Client, name: str) -> None:
    """Wait until a deployment can answer; a terminal shows that something goes on."""
    console = stderr_console()
    with console.status(f"Loading '{printable(name)}' …"):
        client.wait_model_ready(name)
