"""The server that the client would talk to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelry.cli.checks.finding import Finding, bad, good, note

if TYPE_CHECKING:
    from modelry.client import Client


def server(client: Client) -> Iterator[Finding]:
    """Whether it answers, is ready, and takes the key."""
    from modelry.client.errors import ModelryError, NotReachable, Unauthenticated

    try:
        ready = client.is_ready()
    except NotReachable:
        yield note("server", f"none at {client.url}", "Start one: modelry up.")
        return
    except ModelryError as error:
        yield bad("server", f"{client.url}: {error.message}", "Is MODELRY_URL right?")
        return
    state = "ready" if ready else "starting or failing"
    yield (good if ready else note)("server", f"{client.url} is {state}")
    try:
        caller = client.keys.whoami()
    except Unauthenticated as error:
        yield bad("api key", error.message, "Set MODELRY_API_KEY to a valid key.")
    except ModelryError as error:
        yield bad("api key", error.message, "The server did not say whose key it is.")
    else:
        yield good("api key", f"{caller.key_id}, role {caller.role}")
        yield from _kept_files(client)
        yield from _encryption(client)


def _kept_files(client: Client) -> Iterator[Finding]:
    """Versions whose files were changed on the server's disk."""
    from modelry.client.errors import ModelryError

    try:
        quarantined = [
            version.ref
            for model in client.models.list()
            for version in client.versions.list(model.name)
            if version.quarantined_at is not None
        ]
    except ModelryError:
        return  # a key that may not see models
    if quarantined:
        yield bad(
            "files",
            f"changed on the server's disk, so quarantined: {', '.join(quarantined)}",
            "Upload the same files again (modelry register), and find out who changed them.",
        )


def _encryption(client: Client) -> Iterator[Finding]:
    """How data keys are wrapped, for those who run the platform."""
    from modelry.client.errors import ModelryError

    try:
        status = client.encryption.status()
    except ModelryError:
        return  # a key that may not see the platform
    found = f"{status.data_keys} data keys, wrapped by: {status.provider}"
    if len(status.key_encryption_keys) > 1:
        yield note(
            "encryption",
            f"{found}, under {len(status.key_encryption_keys)} keys",
            "A rotation has yet to be finished: modelry encryption rotate.",
        )
    else:
        yield good("encryption", found)
