"""What every command gets: the server to talk to."""

from __future__ import annotations

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

    def client(self) -> Client:
        """A client of that server; imported here so that `--help` is quick."""
        from modelry.client import Client

        return Client(self.url, self.api_key, ca=self.ca)


def client_of(context: typer.Context) -> Client:
    """A client of the server that the global options name."""
    found = context.find_object(Session)
    return (found or Session()).client()
