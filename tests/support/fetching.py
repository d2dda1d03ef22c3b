"""Fetching from tests' places, with everything written down that was told."""

from __future__ import annotations

import hashlib
from pathlib import Path

from modelry.adapters.hubs import CachingFetcher, FetchPolicy, FetchProgress

CONTENT = hashlib.shake_256(b"weights").digest(1_000_000)
DIGITS = hashlib.sha256(CONTENT).hexdigest()
DIGEST = f"sha256:{DIGITS}"


class CallerLeft(Exception):
    """What a caller raises to end a fetch."""


class Fetching:
    """Fetches into folders of its own and keeps what was told."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.told: list[FetchProgress] = []
        self.policy = FetchPolicy(
            allow_private_hosts=True,
            allow_plain_http=True,
            stall_timeout_s=5.0,
            connect_timeout_s=5.0,
            retry_pause_s=0.001,
            path_roots=(folder / "readable",),
            hub_token="",
        )

    def fetcher(self) -> CachingFetcher:
        return CachingFetcher(self._folder / "cache", self.policy)

    def __call__(self, source: str, *, leave_at: int | None = None) -> bytes:
        """The content that a new fetcher gets; `leave_at`: the caller leaves at so many bytes."""

        def on_progress(progress: FetchProgress) -> None:
            self.told.append(progress)
            if leave_at is not None and progress.done_bytes >= leave_at:
                raise CallerLeft

        found = self.fetcher().fetch(source, self._folder / "out", on_progress)
        content = found.path.read_bytes()
        assert found.digest == "sha256:" + hashlib.sha256(content).hexdigest()
        assert found.size_bytes == len(content)
        assert found.source.endswith(found.digest.replace(":", "="))
        return content

    def cached_files(self) -> list[Path]:
        return sorted((self._folder / "cache" / "files").iterdir())

    def partial_files(self) -> list[Path]:
        return sorted((self._folder / "cache" / "partial").iterdir())
