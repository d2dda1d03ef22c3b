"""What a start tells whoever watches it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from modelry.domain.errors import ModelryError
from modelry.services.catalog.ports import FetchProgress


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a server listens; with TLS under its own authority, clients must trust `ca_file`."""

    http_url: str
    grpc_address: str
    ca_file: Path | None = None


class StartObserver(Protocol):
    """Is told how a start goes; called on the event loop or, for progress, in a thread."""

    def listening(self, address: ServerAddress, owner_token: str | None) -> None:
        """The doors are open; `owner_token` is the owner's key if it was made just now."""
        ...

    def fetching(self, starter: str, progress: FetchProgress) -> None:
        """A starter model is being fetched."""
        ...

    def starter_failed(self, starter: str, error: ModelryError) -> None:
        """A starter model could not be set up; the server goes on without it."""
        ...

    def ready(self, address: ServerAddress, deployed: Collection[str]) -> None:
        """Everything that a start does is done; `deployed` are the first tenant's deployments."""
        ...

    def stopping(self, open_requests: int, drain_s: float) -> None:
        """The server drains."""
        ...


class Unwatched:
    """Tells nobody."""

    def listening(self, address: ServerAddress, owner_token: str | None) -> None:
        """See `StartObserver`."""

    def fetching(self, starter: str, progress: FetchProgress) -> None:
        """See `StartObserver`."""

    def starter_failed(self, starter: str, error: ModelryError) -> None:
        """See `StartObserver`."""

    def ready(self, address: ServerAddress, deployed: Collection[str]) -> None:
        """See `StartObserver`."""

    def stopping(self, open_requests: int, drain_s: float) -> None:
        """See `StartObserver`."""
