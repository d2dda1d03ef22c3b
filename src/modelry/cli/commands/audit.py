"""`modelry audit`: who did what, and whether the record of it is whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelry.cli.durations import seconds_of
from modelry.cli.failures import FAILED, usage_error
from modelry.cli.groups import command_group
from modelry.cli.output import AsJson, Output, printable, table
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client import Client
    from modelry.client.records import AuditEntry, AuditHead, AuditVerification

PAGE = 1000

app = command_group(
    "See who did what, and check that nothing of it was changed.", no_args_is_help=True
)

Since = Annotated[
    str | None, typer.Option(help="A time (2030-01-31T00:00:00Z), or how long ago (12h, 30d).")
]
Actor = Annotated[str | None, typer.Option(help="Who: a key's id or user:<member>.")]
Action = Annotated[str | None, typer.Option(help="What, such as keys.create_key or 'keys.*'.")]
Resource = Annotated[str | None, typer.Option(help="On what, such as '/deployments/*'.")]
Outcome = Annotated[str | None, typer.Option(help="ok, intent, or an error's code.")]


@app.command("list")
def list_entries(
    context: typer.Context,
    *,
    since: Since = None,
    until: Since = None,
    actor: Actor = None,
    action: Action = None,
    resource: Resource = None,
    outcome: Outcome = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=PAGE)] = 50,
    as_json: AsJson = False,
) -> None:
    """List entries, newest first."""
    with client_of(context) as client:
        page = client.audit.list(
            since=moment_of(since, "--since"),
            until=moment_of(until, "--until"),
            actor=actor,
            action=action,
            resource=resource,
            outcome=outcome,
            limit=limit,
        )

    def show() -> None:
        rows = [
            (
                one.sequence,
                one.at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
                one.actor,
                one.action,
                one.resource,
                one.outcome,
            )
            for one in page.entries
        ]
        columns = ("ENTRY>", "TIME", "WHO", "WHAT", "ON", "OUTCOME")
        table(columns, rows, empty="No entries.")

    Output(as_json).result(page.entries, show)


@app.command("export")
def export(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="Where to; by default stdout.", show_default=False)
    ] = None,
    *,
    since: Since = None,
    until: Since = None,
    actor: Actor = None,
    action: Action = None,
    resource: Resource = None,
    outcome: Outcome = None,
) -> None:
    """Write all entries, oldest first, as lines of JSON."""
    from modelry.client.decoding import encode

    wanted = {
        "since": moment_of(since, "--since"),
        "until": moment_of(until, "--until"),
        "actor": actor,
        "action": action,
        "resource": resource,
        "outcome": outcome,
    }
    with client_of(context) as client:
        lines = (json.dumps(encode(one), ensure_ascii=False) for one in _all(client, wanted))
        if file is None:
            for line in lines:
                typer.echo(line)
            return
        count = 0
        with file.open("x", encoding="utf-8") as target:
            for count, line in enumerate(lines, 1):  # noqa: B007 - told below
                target.write(line + "\n")
    typer.echo(f"Wrote {count} entries.", err=True)


@app.command("head")
def head(
    context: typer.Context,
    *,
    file: Annotated[
        Path | None, typer.Option(help="Append the head to this file; keep it elsewhere.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Get a signed statement of where the chain ends, to be kept outside of the server."""
    from modelry.client.decoding import encode

    with client_of(context) as client:
        found = client.audit.head()
    line = json.dumps(encode(found.head))
    if file is not None:
        with file.open("a", encoding="utf-8") as target:
            target.write(line + "\n")
    output = Output(as_json)

    def show() -> None:
        typer.echo(line)
        output.note(f"Public key (Ed25519): {found.public_key}")

    output.result(found, show)


@app.command("verify")
def verify(
    context: typer.Context,
    *,
    heads: Annotated[
        list[Path] | None,
        typer.Option("--head", help="A file of heads to compare with; may be repeated."),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Read the database itself, for all tenants, without a server."
        ),
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="With --offline: the data folder, if not MODELRY_DATA.")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="With --offline: the only tenant to check.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that no entry was changed, taken away, inserted or moved; exit code 1 if one was."""
    given = [one for path in heads or () for one in _read_heads(path)]
    if offline:
        found = dict(_verified_offline(given, data, tenant))
    elif data is not None or tenant is not None:
        raise usage_error("--data and --tenant are for --offline.")
    else:
        with client_of(context) as client:
            found = {client.keys.whoami().tenant_id: client.audit.verify(given)}
    output = Output(as_json)

    def show() -> None:
        for tenant_id, one in found.items():
            for line in _words(tenant_id, one):
                output.say(line)

    output.result(found, show)
    if not all(one.sound for one in found.values()):
        raise typer.Exit(FAILED)


def moment_of(text: str | None, option: str) -> datetime | None:
    """A time as people write it: itself, or how long ago it was."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC) - timedelta(seconds=seconds_of(text, option))
    return moment if moment.tzinfo is not None else moment.astimezone()


def _all(client: Client, wanted: dict[str, Any]) -> Iterator[AuditEntry]:
    after: int | None = 0
    while after is not None:
        page = client.audit.list(**wanted, after=after, oldest_first=True, limit=PAGE)
        yield from page.entries
        after = page.next


def _read_heads(path: Path) -> Iterator[AuditHead]:
    from modelry.client.decoding import decode
    from modelry.client.errors import UnexpectedAnswer
    from modelry.client.records import AuditHead

    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            head = decode(AuditHead, json.loads(line), "head")
            if len(bytes.fromhex(head.mac)) != 32 or not bytes.fromhex(head.signature):
                raise ValueError("no MAC or no signature")
            if head.at.tzinfo is None:
                raise ValueError("no time zone")
        except (ValueError, UnexpectedAnswer):
            raise usage_error(
                f"Line {number} of {path} is no head as 'modelry audit head' prints it.", "--head"
            ) from None
        yield head


def _verified_offline(
    heads: Iterable[AuditHead], data: Path | None, tenant: str | None
) -> Iterator[tuple[str, AuditVerification]]:
    from modelry.bootstrap.offline_audit import verify_offline
    from modelry.client.records import AuditBreak, AuditVerification
    from modelry.domain.audit import SignedHead
    from modelry.settings import Settings

    settings = Settings() if data is None else Settings(data=data)
    given = [
        SignedHead(
            one.tenant_id,
            one.sequence,
            bytes.fromhex(one.mac),
            one.at,
            bytes.fromhex(one.signature),
        )
        for one in heads
    ]
    for found in verify_offline(settings, given, tenant):
        yield (
            found.tenant_id,
            AuditVerification(
                sound=found.is_sound,
                checked=found.checked,
                first_sequence=found.first_sequence,
                last_sequence=found.last_sequence,
                heads=found.heads,
                breaks=tuple(
                    AuditBreak(one.kind.value, one.sequence, one.message) for one in found.breaks
                ),
                breaks_left_out=found.breaks_left_out,
            ),
        )


def _words(tenant_id: str, found: AuditVerification) -> Iterator[str]:
    span = (
        f"{found.checked} entries ({found.first_sequence} to {found.last_sequence}), "
        f"{found.heads} signed heads"
    )
    if found.sound:
        yield f"{tenant_id}: sound: {span}."
        return
    yield f"{tenant_id}: BROKEN: {span}."
    for one in found.breaks:
        yield printable(f"  at entry {one.sequence}: {one.kind}: {one.message}")
    if found.breaks_left_out:
        yield f"  and {found.breaks_left_out} more"
