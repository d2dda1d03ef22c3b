"""What `register` and `pull` say and do once a version is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelry.cli.deploying import wait_for_model
from modelry.cli.output import Output

if TYPE_CHECKING:
    from modelry.client import Client
    from modelry.client.records import Registration


def tell_registered(
    client: Client, registrations: Sequence[Registration], output: Output, *, deploy: bool
) -> None:
    """Say what was registered and inferred; deploy it if asked to."""
    for one in registrations:
        state = "registered" if one.created else "was registered already"
        output.note(f"{_ref(one)} {state}: {one.version.task} on {one.version.runtime}")
        for note in one.notes:
            output.note(f"  {note}")
    deployments = []
    for one in registrations if deploy else ():
        client.deploy(one.version.model, version=one.version.version)
        wait_for_model(client, one.version.model)
        deployments.append(client.deployments.get(one.version.model))
        output.note(f"'{one.version.model}' is ready")

    def show() -> None:
        for one in registrations:
            output.say(_ref(one))

    output.result({"registrations": list(registrations), "deployments": deployments}, show)


def _ref(registration: Registration) -> str:
    return f"{registration.version.model}@{registration.version.version}"
