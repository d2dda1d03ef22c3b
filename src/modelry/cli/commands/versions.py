"""`modelry versions`: the versions of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelry.cli.confirmation import Yes, confirm
from modelry.cli.failures import usage_error
from modelry.cli.output import AsJson, Output, size_text, table, time_text
from modelry.cli.session import client_of

if TYPE_CHECKING:
    from modelry.client import Client
    from modelry.client.records import Version


def versions(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name of the model.", show_default=False)],
    version: Annotated[
        str | None, typer.Argument(help="Number or alias: show this one.", show_default=False)
    ] = None,
    *,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the version.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """List the versions of a model, or show or delete one."""
    output = Output(as_json)
    with client_of(context) as client:
        if delete:
            _delete(client, model, version, output, yes=yes)
        elif version is not None:
            found = client.versions.get(model, version)
            output.result(found, lambda: _show(found, output))
        else:
            listed = client.versions.list(model)
            output.result(listed, lambda: _list(listed))


def _list(versions: list[Version]) -> None:
    rows = [
        (
            f"{one.version} QUARANTINED" if one.quarantined_at else one.version,
            one.task,
            one.runtime,
            size_text(sum(file.size_bytes for file in one.files)),
            time_text(one.created_at),
            one.source,
            one.digest[:19],
        )
        for one in versions
    ]
    columns = ("VERSION>", "TASK", "RUNTIME", "SIZE>", "CREATED", "SOURCE", "DIGEST")
    table(columns, rows, empty="No versions.")


def _show(version: Version, output: Output) -> None:
    output.say(f"{version.ref}: {version.task} on {version.runtime}, {version.digest}")
    output.say(f"Created {time_text(version.created_at)} from {version.source}")
    if version.quarantined_at is not None:
        output.say(
            f"QUARANTINED since {time_text(version.quarantined_at)}: a file was changed on the "
            "server's disk. Upload the same files again (modelry register); that mends it."
        )
    for file in version.files:
        output.say(f"  {file.role}: {file.name}, {size_text(file.size_bytes)}, {file.digest}")
    for side in ("inputs", "outputs"):
        for tensor in version.signature.get(side, []):
            output.say(f"  {side[:-1]} {_tensor(tensor)}")


def _tensor(tensor: dict[str, Any]) -> str:
    shape = ", ".join("?" if size == -1 else str(size) for size in tensor.get("shape", []))
    return f"{tensor.get('name')}: {tensor.get('datatype')} [{shape}]"


def _delete(client: Client, model: str, version: str | None, output: Output, *, yes: bool) -> None:
    if version is None or not version.isdigit():
        raise usage_error("say the number of the version to delete.", "VERSION")
    confirm(f"Delete version {version} of model '{model}'?", yes=yes)
    client.versions.delete(model, int(version))
    deleted = f"{model}@{version}"
    output.result({"deleted": deleted}, lambda: output.say(f"Deleted {deleted}."))
