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
