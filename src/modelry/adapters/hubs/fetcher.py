"""Fetches the file that a source names, from the cache where that is as good."""

from __future__ import annotations

import errno
import shutil
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

import httpx2

from modelry.adapters.hubs.cache import DownloadCache, place_file
from modelry.adapters.hubs.hub import ModelHub
from modelry.adapters.hubs.packages import PackageIndexes
from modelry.adapters.hubs.promises import mismatch
from modelry.adapters.hubs.types import (
    DatasetFiles,
    FetchedFile,
    FetchPhase,
    FetchPolicy,
    ProgressCallback,
    Report,
)
from modelry.adapters.hubs.web_files import WebFiles
from modelry.domain.errors import InvalidInput, PayloadTooLarge, SourceUnavailable
from modelry.manifest.digests import digest_of_file
from modelry.manifest.nodes import shorten
from modelry.manifest.sources import (
    DatasetSource,
    HubSource,
    PackageSource,
    PathSource,
    Source,
    WebSource,
    parse_source,
)

S = TypeVar("S", HubSource, PackageSource, WebSource)


class _Place(Protocol[S]):
    """A kind of place where files are."""

    def resolve(self, source: S, report: Report) -> tuple[S, bool]:
        """The source as exactly as it can be told, and whether its content is fixed."""
        ...

    def download(self, source: S, report: Report) -> AbstractContextManager[tuple[Path, str]]:
        """The file, to be moved away within the block, and its digest."""
        ...


class CachingFetcher:
    """Implements `services.catalog.ports.SourceFetcher`; safe for threads and processes.

    Args:
        cache_folder: where downloads are kept and resumed; losing it loses time only.
        policy: what fetching may do.
    """

    def __init__(self, cache_folder: Path, policy: FetchPolicy | None = None) -> None:
        self._policy = policy or FetchPolicy()
        self._cache = DownloadCache(cache_folder)
        self._packages = PackageIndexes(self._policy, self._cache)
        self._hub = ModelHub(self._policy, self._cache)
        self._web = WebFiles(self._policy, self._cache)

    def fetch(
        self, source: str, destination: Path, on_progress: ProgressCallback | None = None
    ) -> FetchedFile:
        """Put the file that `source` names into the folder `destination`, under its own name.

        What `on_progress` raises ends the fetch; the next one goes on from there.

        Raises:
            InvalidInput: not a source, or not one that may be fetched here.
            SourceUnavailable: the place did not answer as expected.
            DigestMismatch: it gave other bytes than promised.
            PayloadTooLarge: more bytes than the policy allows.
            DeadlineExceeded: it took longer than the policy allows.
        """
        parsed = parse_source(source)
        report = Report(source, on_progress)
        self._cache.prepare()
        match parsed:
            case PathSource():
                return self._copy(parsed, destination, report)
            case PackageSource():
                return self._fetch(self._packages, parsed, destination, report)
            case HubSource():
                return self._fetch(self._hub, parsed, destination, report)
            case WebSource():
                return self._fetch(self._web, parsed, destination, report)

    def files_of(self, source: DatasetSource) -> DatasetFiles:
        """The files of a dataset's repository on the hub, at a fixed commit.

        Raises:
            SourceUnavailable: the hub does not answer, or has no such repository for this token.
        """
        return self._hub.files_of(source)

    def _fetch(self, place: _Place[S], source: S, destination: Path, report: Report) -> FetchedFile:
        try:
            found = self._cached(source, report, is_fixed=False)
            exact = source
            if found is None:
                exact, is_fixed = place.resolve(source, report)
                with self._cache.lock(_name(exact), lambda: report(FetchPhase.RESOLVING)):
                    found = self._cached(exact, report, is_fixed=is_fixed)
                    if found is None:
                        found = self._download(place, exact, report)
            if _name(exact) != _name(source):
                self._cache.remember(_name(source), found[0])
        except httpx2.InvalidURL:
            raise InvalidInput(
                f"{shorten(str(source))} is not a usable URL; check its spelling.", param="source"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise SourceUnavailable(
                f"{shorten(source.name)} does not fit the free disk space of the download cache; "
                "make room and try again.",
                param="source",
            ) from None
        digest, path = found
        placed = _placed(path, destination, replace(exact, digest=digest), report)
        self._cache.prune(self._policy.max_cache_bytes)
        return placed

    def _cached(self, source: S, report: Report, *, is_fixed: bool) -> tuple[str, Path] | None:
        """What this source gave before, where it would give the same again."""
        if source.digest is None and not is_fixed:
            return None
        found = self._cache.find(_name(source), lambda done: report(FetchPhase.VERIFYING, done))
        if found is None or source.digest in (None, found[0]):
            return found
        if is_fixed:
            raise mismatch(source, found[0])
        return None

    def _download(self, place: _Place[S], source: S, report: Report) -> tuple[str, Path]:
        with place.download(source, report) as (path, digest):
            if source.digest not in (None, digest):
                path.unlink(missing_ok=True)
                raise mismatch(source, digest)
            return digest, self._cache.keep(path, digest, _name(source))

    def _copy(self, source: PathSource, destination: Path, report: Report) -> FetchedFile:
        """A file of this machine, if the policy lets it be read."""
        path = self._allowed_path(source)
        size = path.stat().st_size
        if size > self._policy.max_bytes:
            raise PayloadTooLarge(
                f"{shorten(source.name)} has {size} bytes; at most {self._policy.max_bytes} are "
                "accepted.",
                param="source",
            )
        destination.mkdir(parents=True, exist_ok=True)
        target = destination / source.name
        shutil.copyfile(path, target)
        digest = digest_of_file(target, lambda done: report(FetchPhase.VERIFYING, done, size))
        if source.digest not in (None, digest):
            target.unlink()
            raise mismatch(source, digest)
        report(FetchPhase.DONE, size, size)
        return FetchedFile(target, source.name, digest, size, str(replace(source, digest=digest)))

    def _allowed_path(self, source: PathSource) -> Path:
        if not self._policy.path_roots:
            raise InvalidInput(
                f"The source {shorten(source.path)} is a path, and paths are not read here. Give "
                "the file itself, or a source that begins with hf://, pypi:// or https://.",
                param="source",
            )
        path = Path(source.path).resolve()
        is_inside = any(path.is_relative_to(root.resolve()) for root in self._policy.path_roots)
        if not is_inside or not path.is_file():
            raise SourceUnavailable(
                f"There is no file {shorten(source.path)} in the folders that may be read here.",
                param="source",
            )
        return path


def _placed(path: Path, destination: Path, source: Source, report: Report) -> FetchedFile:
    target = place_file(path, destination, source.name)
    size = target.stat().st_size
    report(FetchPhase.DONE, size, size)
    return FetchedFile(target, source.name, source.digest or "", size, str(source))


def _name(source: Source) -> str:
    """What the cache calls a source: where it points, without what is promised of it."""
    return str(replace(source, digest=None))
