"""What every command gets: the server to talk to."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from modelry.client import Client


@dataclass(frozen=True, slots=True)
class Session:
    """The global options; None leaves them to the environment."""

    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    ca: Path | None = None

    def client(self, *, by_session: bool = False) -> Client:
        """A client of that server; imported here so that `--help` is quick.

        Without a key it acts for the person who signed in here last; with `by_session`, always.
        """
        from modelry.cli.kept_sessions import kept
        from modelry.client import Client
        from modelry.client.connection import DEFAULT_URL

        url = (self.url or os.environ.get("MODELRY_URL") or DEFAULT_URL).rstrip("/")
        key = "" if by_session else self.api_key
        return Client(self.url, key, ca=self.ca, session=kept(url))


def client_of(context: typer.Context, *, by_session: bool = False) -> Client:
    """A client of the server that the global options name; see `Session.client`."""
    found = context.find_object(Session)
    return (found or Session()).client(by_session=by_session)
