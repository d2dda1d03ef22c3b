"""`modelry doctor`: what is wrong with this machine, this installation, this server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from modelry.cli.failures import FAILED
from modelry.cli.output import AsJson, Output, printable, stderr_console
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.cli.checks.finding import Finding

_MARKS = {"good": "ok", "note": "note", "bad": "BAD"}


def doctor(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Check this machine, this installation and the server; exit code 1 if something is bad."""
    output = Output(as_json)
    console = stderr_console()
    with console.status("Checking …"):
        findings = list(_findings(context))

    def show() -> None:
        for one in findings:
            output.say(f"{_MARKS[one.verdict]:<5} {one.name}: {one.found}")
            if one.advice:
                output.say(f"      {printable(one.advice)}")

    output.result({"findings": findings}, show)
    if any(one.verdict == "bad" for one in findings):
        raise typer.Exit(FAILED)


def _findings(context: typer.Context) -> Iterator[Finding]:
    from pydantic import ValidationError

    from modelry.cli.checks.finding import bad
    from modelry.cli.checks.machine import machine
    from modelry.cli.checks.server import server
    from modelry.cli.checks.software import software
    from modelry.cli.commands.up import setting_errors
    from modelry.settings import Settings

    yield from software()
    try:
        settings = Settings()
    except ValidationError as error:
        for line in setting_errors(error, {}):
            yield bad("settings", line.removeprefix("Error: "), "Mend the variable.")
    else:
        ports = {"port": settings.port, "grpc_port": settings.grpc_port}
        yield from machine(settings.data, settings.host, ports, settings.require_sandbox)
    with client_of(context) as client:
        yield from server(client)
