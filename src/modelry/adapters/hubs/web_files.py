"""Files behind plain URLs, which any user may have named: guarded, and never taken as fixed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelry.adapters.hubs.cache import DownloadCache
from modelry.adapters.hubs.transfer import Transfer
from modelry.adapters.hubs.types import FetchPhase, FetchPolicy, Report
from modelry.adapters.hubs.web import WebClient
from modelry.manifest.nodes import shorten
from modelry.manifest.sources import WebSource


class WebFiles:
    """Fetches `https://` sources.

    Args:
        policy: sizes, times, and what URLs may lead to.
        cache: where unfinished downloads lie.
    """

    def __init__(self, policy: FetchPolicy, cache: DownloadCache) -> None:
        self._policy = policy
        self._cache = cache

    def resolve(self, source: WebSource, report: Report) -> tuple[WebSource, bool]:
        """The source itself; what a URL leads to may change."""
        report(FetchPhase.RESOLVING)
        return source, False

    @contextmanager
    def download(self, source: WebSource, report: Report) -> Iterator[tuple[Path, str]]:
        """The file (to be moved away within the block) and its digest.

        Raises:
            InvalidInput: the URL, or one it redirects to, is not allowed.
            SourceUnavailable, DigestMismatch, PayloadTooLarge, DeadlineExceeded: see `Transfer`.
        """
        web = WebClient(self._policy, guarded=True)
        transfer = Transfer(
            web=web,
            url=source.url,
            partial=self._cache.partial(str(source)),
            what=f"The file {shorten(source.name)}",
            policy=self._policy,
            digest=source.digest,
            report=report,
        )
        try:
            yield transfer.partial, transfer.run()
        finally:
            web.close()
