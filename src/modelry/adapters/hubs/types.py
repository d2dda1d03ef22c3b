"""What is told while and after fetching, and what fetching may do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class FetchPhase(StrEnum):
    """Where a fetch is."""

    RESOLVING = "resolving"
    DOWNLOADING = "downloading"
    EXTRACTING = "extracting"
    VERIFYING = "verifying"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far a fetch is, in bytes of the current phase; `total_bytes` is None when unknown."""

    source: str
    phase: FetchPhase
    done_bytes: int = 0
    total_bytes: int | None = None


ProgressCallback = Callable[[FetchProgress], None]
"""Called from the fetching thread; an exception that it raises ends the fetch (it can resume)."""


@dataclass(frozen=True, slots=True)
class Report:
    """Tells the progress of one source to whoever wants it."""

    source: str
    callback: ProgressCallback | None

    def __call__(
        self, phase: FetchPhase, done_bytes: int = 0, total_bytes: int | None = None
    ) -> None:
        """Tell how far it is; raises what the callback raises."""
        if self.callback is not None:
            self.callback(FetchProgress(self.source, phase, done_bytes, total_bytes))


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file that was fetched.

    `source` is the source as precisely as it is known: a hub branch has become a commit, and
    the digest stands at its end.
    """

    path: Path
    name: str
    digest: str
    size_bytes: int
    source: str


@dataclass(frozen=True, slots=True)
class DatasetFiles:
    """The files of a dataset's repository at a commit: their paths, in order."""

    commit: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """What fetching may do.

    Attributes:
        max_bytes: the largest file (and the largest package around it).
        path_roots: folders below which path sources may lie; none means no path sources.
        allow_private_hosts: whether web sources may lead to loopback, private or link-local
            addresses. Off, a tenant cannot make the server read its own network.
        allow_plain_http: whether web sources may be `http://`.
        hub_endpoint: URL of the model hub; None takes `HF_ENDPOINT` or the public hub.
        hub_token: access token for the hub; None takes `HF_TOKEN` or none.
        connect_timeout_s: seconds until a server must accept a connection.
        stall_timeout_s: seconds without a byte after which a connection is given up and resumed.
        max_duration_s: seconds that one file may take in all.
        max_cache_bytes: how much the cache keeps; beyond, what was not used for longest goes.
        retry_pause_s: seconds before the second attempt; later pauses double, up to 8 s.
    """

    max_bytes: int = 64 * 2**30
    path_roots: tuple[Path, ...] = ()
    allow_private_hosts: bool = False
    allow_plain_http: bool = False
    hub_endpoint: str | None = None
    hub_token: str | None = None
    connect_timeout_s: float = 20.0
    stall_timeout_s: float = 30.0
    max_duration_s: float = 6 * 3600.0
    max_cache_bytes: int = 16 * 2**30
    retry_pause_s: float = 0.25
