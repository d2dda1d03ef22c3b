"""`modelry up`: start a server."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelry.cli.failures import USAGE

if TYPE_CHECKING:
    from pydantic import ValidationError


class LogLevel(StrEnum):
    """Least severity that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class TlsMode(StrEnum):
    """Whether the server makes a certificate of its own."""

    OFF = "off"
    AUTO = "auto"


def up(
    *,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port of the HTTP doors; 0 takes a free one. [default: 8080]"),
    ] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option(help="Port of the gRPC door; 0 takes a free one. [default: 8081]"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the database, models and secrets.")
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            help="SQLAlchemy URL of a PostgreSQL database; leave a password to PGPASSFILE or to "
            "MODELRY_DATABASE_URL, as others can list flags. [default: SQLite in the data folder]"
        ),
    ] = None,
    database_owner_url: Annotated[
        str | None,
        typer.Option(
            help="The same with the role that owns the tables, for bringing them up to date at "
            "the start."
        ),
    ] = None,
    secrets: Annotated[
        Path | None,
        typer.Option(help="Folder of the server's secrets. [default: in the data folder]"),
    ] = None,
    blobs: Annotated[
        Path | None,
        typer.Option(help="Folder of the models' files. [default: in the data folder]"),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of downloads that can be fetched again.")
    ] = None,
    starter: Annotated[
        bool | None,
        typer.Option("--starter/--no-starter", help="Fetch and deploy the starter models."),
    ] = None,
    tls: Annotated[
        TlsMode | None,
        typer.Option(help="auto: listen with TLS, under a certificate of the server's own."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="PEM file of the certificate to listen with.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of the certificate's key.")] = None,
    insecure: Annotated[
        bool | None,
        typer.Option("--insecure", help="Allow listening on a non-loopback address without TLS."),
    ] = None,
    allow_private_sources: Annotated[
        bool | None,
        typer.Option(
            "--allow-private-sources",
            help="Let models be fetched from private and loopback addresses.",
        ),
    ] = None,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="Least severity that is logged. [default: info]")
    ] = None,
) -> None:
    """Start a server; Ctrl-C drains and ends it.

    Every setting has an environment variable too (`MODELRY_PORT`, `MODELRY_DATA` …); flags win.
    """
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "grpc_port": grpc_port,
        "data": data,
        "database_url": database_url,
        "database_owner_url": database_owner_url,
        "secrets": secrets,
        "blobs": blobs,
        "cache": cache,
        "starter": starter,
        "tls": None if tls is None else tls.value,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "insecure": insecure,
        "allow_private_sources": allow_private_sources,
        "log_level": None if log_level is None else log_level.value,
    }
    flags = {name: value for name, value in given.items() if value is not None}

    from pydantic import ValidationError

    from modelry.settings import Settings

    try:
        settings = Settings(**flags)
    except ValidationError as error:
        for line in setting_errors(error, flags):
            typer.echo(line, err=True)
        raise typer.Exit(USAGE) from None

    from rich.console import Console

    from modelry.bootstrap import serve
    from modelry.cli.start_console import StartConsole

    key_variable = "MODELRY_API_KEY" if settings.owner_key is None else "MODELRY_OWNER_KEY"
    serve(settings, StartConsole(Console(), key_variable))


def setting_errors(error: ValidationError, flags: dict[str, Any]) -> list[str]:
    """One line per wrong setting, that names the flag or variable that it came from."""
    lines = []
    for one in error.errors(include_url=False):
        name = str(one["loc"][0]) if one["loc"] else ""
        message = one["msg"].removeprefix("Value error, ")
        if name:
            flag = f"--{name.replace('_', '-')}"
            origin = flag if name in flags else f"MODELRY_{name.upper()}"
            shown = "" if "key" in name or "url" in name else f" {one['input']!r}"
            message = f"{origin}{shown}: {message}"
        lines.append(f"Error: {message}")
    return lines
